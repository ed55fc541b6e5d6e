/** One set of values of a plot. */
export interface Series {
  readonly title: string;
  readonly values: readonly number[];
  readonly unit: string;
}

const width = 640;
const panelHeight = 200;
const margin = { left: 48, right: 16, top: 34, bottom: 30 };
const bins = 40;

/** Histograms below each other, as an SVG document. The last bin of each takes everything beyond the 98 % quantile. */
export function histograms(series: readonly Series[]): string {
  const height = panelHeight * series.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    ...series.flatMap((one, index) => panel(one, index * panelHeight)),
    "</svg>",
    "",
  ].join("\n");
}

function panel({ title, values, unit }: Series, top: number): string[] {
  const sorted = [...values].sort((a, b) => a - b);
  const limit = roundUp(sorted[Math.floor(0.98 * (sorted.length - 1))] ?? 1);
  const counts = new Array<number>(bins).fill(0);
  for (const value of sorted) {
    const bin = Math.min(bins - 1, Math.floor((value / limit) * bins));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  const most = Math.max(1, ...counts);
  const inner = { width: width - margin.left - margin.right, height: panelHeight - margin.top - margin.bottom };
  const base = top + margin.top + inner.height;
  const x = (value: number): number => margin.left + (value / limit) * inner.width;
  const step = inner.width / bins;
  const median = sorted[(sorted.length - 1) >> 1] ?? 0;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => part * limit);
  return [
    `<text x="${margin.left}" y="${top + 18}">${title}: ${values.length}, median ${median.toFixed(2)} ${unit}</text>`,
    ...counts.map((count, bin) => {
      const bar = (count / most) * inner.height;
      return `<rect x="${(margin.left + bin * step).toFixed(1)}" y="${(base - bar).toFixed(1)}" width="${(step - 1).toFixed(1)}" height="${bar.toFixed(1)}" fill="#4a7ba6"/>`;
    }),
    `<line x1="${x(median).toFixed(1)}" y1="${top + margin.top}" x2="${x(median).toFixed(1)}" y2="${base}" stroke="#b03030"/>`,
    `<line x1="${margin.left}" y1="${base}" x2="${margin.left + inner.width}" y2="${base}" stroke="black"/>`,
    ...ticks.map(
      (value) =>
        `<text x="${x(value).toFixed(1)}" y="${base + 16}" text-anchor="middle">${Number(value.toFixed(2))} ${unit}</text>`,
    ),
    `<text x="${margin.left - 6}" y="${top + margin.top + 10}" text-anchor="end">${most}</text>`,
  ];
}

/** The next 1, 2, 4 or 8 times a power of ten. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)));
  return ([1, 2, 4, 8, 10].find((factor) => factor * power >= value) ?? 10) * power;
}
