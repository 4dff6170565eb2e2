/** What the devices of every row say, and the schema that it fits. */

export const telemetryPayload = Buffer.from(
  '{"temperature":22.5,"humidity":41.2,"battery":3.71,"sequence":184467,"at":"2026-11-21T04:17:00.123Z"}',
);

export const telemetrySchema = JSON.stringify({
  type: 'object',
  properties: {
    temperature: { type: 'number', minimum: -40, maximum: 125 },
    humidity: { type: 'number', minimum: 0, maximum: 100 },
    battery: { type: 'number' },
    sequence: { type: 'integer', minimum: 0 },
    at: { type: 'string', maxLength: 40 },
  },
  required: ['temperature', 'at'],
  additionalProperties: false,
});
