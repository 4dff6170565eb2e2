/**
 * The name of a time series as workers report it: `name{label="value",…}` in Prometheus' text form, without escapes,
 * because no legitimate label value needs one; the longest is a spool, `<route>/<backend>`. `sallyport_control_` is for control itself.
 */
export interface SeriesName {
  readonly metric: string;
  readonly labels: readonly (readonly [name: string, value: string])[];
}

const seriesPattern = /^(sallyport_(?!control_)[a-z0-9_]{1,80})(?:\{([^{}]{0,512})\})?$/;
const labelPattern = /^([a-z_][a-z0-9_]{0,30})="([A-Za-z0-9._:/-]{0,129})"$/;
const maxLabels = 6;

/** Undefined for what a worker of ours does not send; a worker is not trusted to be one of ours. */
export function parseSeriesName(text: string): SeriesName | undefined {
  const [, metric, inner = ''] = seriesPattern.exec(text) ?? [];
  if (metric === undefined) return undefined;
  const labels: (readonly [string, string])[] = [];
  for (const part of inner === '' ? [] : inner.split(',')) {
    const [, name, value] = labelPattern.exec(part) ?? [];
    if (name === undefined || value === undefined || name === 'worker') return undefined;
    if (labels.some(([known]) => known === name) || labels.length === maxLabels) return undefined;
    labels.push([name, value]);
  }
  return { metric, labels };
}
