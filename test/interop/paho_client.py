"""A client of Debian's python3-paho-mqtt: told what to do in lines of JSON on standard input, and telling what happens
in lines of JSON on standard output."""

import json
import socket
import sys

from paho.mqtt import client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCodes
from paho.mqtt.subscribeoptions import SubscribeOptions


def tell(event, **facts):
    # One write a line: callbacks come from the network thread.
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def properties_of(packet, values):
    if not values:
        return None
    properties = Properties(packet)
    for name, value in values.items():
        if name == "UserProperty":
            value = [tuple(pair) for pair in value]
        if name == "CorrelationData":
            value = bytes.fromhex(value)
        setattr(properties, name, value)
    return properties


def json_of(properties):
    return {} if properties is None else properties.json()


def number(code):
    return getattr(code, "value", code)


class Peer:
    def __init__(self, order):
        self.is_5 = order["version"] == 5
        clean = order["clean"]
        self.client = mqtt.Client(
            order["id"],
            clean_session=None if self.is_5 else clean,
            protocol=mqtt.MQTTv5 if self.is_5 else mqtt.MQTTv311,
            transport=order["transport"],
        )
        self.client.tls_set(order["ca"], order["crt"], order["key"])
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = self.on_subscribe
        self.client.on_message = self.on_message
        self.client.on_publish = lambda client, data, mid: tell("published", mid=mid)
        self.client.on_unsubscribe = lambda client, data, mid, *rest: tell("unsubscribed")
        self.client.on_disconnect = lambda client, data, code, *rest: tell("closed", code=number(code))
        will = order.get("will")
        if will is not None:
            extra = {"properties": properties_of(PacketTypes.WILLMESSAGE, will.get("properties"))} if self.is_5 else {}
            self.client.will_set(will["topic"], will["payload"], will["qos"], will["retain"], **extra)
        extra = {}
        if self.is_5:
            extra = {"clean_start": clean, "properties": properties_of(PacketTypes.CONNECT, order.get("properties"))}
        self.client.connect("localhost", order["port"], 60, **extra)
        self.client.loop_start()

    def on_connect(self, client, data, flags, code, properties=None):
        tell("connected", code=number(code), present=bool(flags["session present"]), properties=json_of(properties))

    def on_subscribe(self, client, data, mid, codes, properties=None):
        tell("subscribed", codes=[number(code) for code in codes], properties=json_of(properties))

    def on_message(self, client, data, message):
        tell(
            "message",
            topic=message.topic,
            payload=message.payload.decode(),
            qos=message.qos,
            retain=bool(message.retain),
            properties=json_of(getattr(message, "properties", None)),
        )

    def subscribe(self, order):
        filters = order["filters"]
        if self.is_5:
            options = [(name, SubscribeOptions(qos=qos, **(more[0] if more else {}))) for name, qos, *more in filters]
            properties = properties_of(PacketTypes.SUBSCRIBE, order.get("properties"))
            self.client.subscribe(options, properties=properties)
        else:
            self.client.subscribe([(name, qos) for name, qos, *more in filters])

    def unsubscribe(self, order):
        self.client.unsubscribe(order["filters"])

    def publish(self, order):
        extra = {"properties": properties_of(PacketTypes.PUBLISH, order.get("properties"))} if self.is_5 else {}
        self.client.publish(order["topic"], order["payload"], order["qos"], order.get("retain", False), **extra)

    def disconnect(self, order):
        extra = {}
        if self.is_5:
            reason = ReasonCodes(PacketTypes.DISCONNECT, identifier=order.get("code", 0))
            properties = properties_of(PacketTypes.DISCONNECT, order.get("properties"))
            extra = {"reasoncode": reason, "properties": properties}
        self.client.disconnect(**extra)

    def cut(self, order):
        """The network fails; the library connects again by itself."""
        # Not SSLSocket.shutdown, which takes TLS away first: the network thread would read and write in the clear. For
        # reading alone: that thread does not survive that TLS cannot write (1.6.1 catches no SSLEOFError).
        socket.socket.shutdown(self.client.socket(), socket.SHUT_RD)


peer = None
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "connect":
        peer = Peer(order)
    else:
        getattr(peer, order["do"])(order)
