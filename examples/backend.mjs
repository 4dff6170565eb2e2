/**
 * A backend to look at: prints the CloudEvents 1.0 that arrive, one line each, and acknowledges them. Plain JavaScript
 * without dependencies, for any Node from 18 on.
 *
 *   node examples/backend.mjs [port]
 */
import { createServer } from 'node:http';

const port = Number(process.argv[2] ?? 9000);
const maxBytes = 16 * 1024 * 1024;

createServer(async (request, response) => {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > maxBytes) return void response.writeHead(413).end();
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks).toString();
  const { headers } = request;
  if (headers['content-type']?.startsWith('application/cloudevents-batch+json')) {
    for (const event of JSON.parse(body)) show(event.subject, event.id, JSON.stringify(event.data));
  } else {
    show(headers['ce-subject'], headers['ce-id'], body);
  }
  // 2xx is the acknowledgement: until then the gateway keeps the event and sends it again, under the same id.
  response.writeHead(204).end();
}).listen(port, '127.0.0.1', () => console.log(`backend on http://127.0.0.1:${port}/`));

function show(subject, id, data) {
  console.log(`backend: ${subject} ${data}  (${id})`);
}
