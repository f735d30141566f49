// Converts chart data to lines and marks for uPlot; charts.js draws them and is loaded later.
const figures = (() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (index) => css(index ? `--s${((index - 1) % 8) + 1}` : "--best");
  const spread = (xs, rows, column) => xs.map((_, at) => rows.get(at)?.[column] ?? null);
  const step = uPlot.paths.stepped({ align: 1 });
  const short = (value) => (value == null ? "–" : Number(value.toFixed(3)).toString().replace("-", "−"));

  // Returns horizontal values, lines, and marks by position, from a plan (see aar/web/rendering.py) and its tables.
  function scores(plan, tables) {
    const usd = plan.over === "usd";
    const share = !usd && plan.end > 180 ? 1 / 60 : 1;
    const points = tables
      .flatMap((rows, side) => rows.map((row) => ({ ...row, side, x: (usd ? row.usd : row.minutes) * share })))
      .sort((one, other) => one.x - other.x);
    const xs = [0, ...points.map((point) => point.x), plan.end * share];
    const own = (group, side) => (point) => (group.by ? point.researcher === group.by : point.side === side);
    const best = plan.best.map((line, side) => {
      let value = null;
      const values = xs.map((x, at) => {
        const point = points[at - 1];
        if (point && (plan.best.length === 1 || point.side === side)) value = point.best_so_far ?? value;
        return x <= line.end * share + 1e-9 ? value : null;
      });
      return { label: line.name, stroke: () => colour(line.colour), width: 2, paths: step, ys: values };
    });
    const groups = plan.groups.map((group, side) => {
      const rows = new Map(points.flatMap((point, at) => (own(group, side)(point) ? [[at + 1, point]] : [])));
      return { label: group.name, stroke: () => colour(group.colour), paths: () => null, marks: rows, ys: spread(xs, rows, "score") };
    });
    const lines = plan.lines.map((line) => (
      { label: line.label, stroke: () => css(line.colour), dash: [5, 4], width: 1.25, auto: false, named: line.label, below: line.name === "published", ys: xs.map(() => line.at) }));
    const says = (point) => `s${point.submission} by ${point.researcher}: ${plan.metric} ${short(point.score)} (${short(point.low)} to ${short(point.high)}), ${point.status}`;
    return { xs, points: [null, ...points, null], lines: [...best, ...groups, ...lines], says, unit: usd ? "$" : share < 1 ? "hours" : "minutes" };
  }

  function diversity(plan, [rows]) {
    const share = plan.end > 180 ? 1 / 60 : 1;
    const points = rows.map((row) => ({ ...row, x: row.minutes * share, vendi_bits: row.vendi ? Math.log2(row.vendi) : null }));
    const xs = [0, ...points.map((point) => point.x), plan.end * share];
    const line = (label, column, name, more = {}) => (
      { label, stroke: () => css(name), width: 2, paths: step, spanGaps: true, ys: [null, ...points, points.at(-1)].map((point) => point?.[column] ?? null), ...more });
    const known = (column) => points.some((point) => point[column] != null);
    const band = known("low");
    const ends = [line("90 % band, high", "high", "--s1", { width: 0 }), line("90 % band, low", "low", "--s1", { width: 0 })];
    const texts = known("vendi_bits") ? [line("Vendi, log₂", "vendi_bits", "--s3", { dash: [6, 3] })] : [];
    const lines = [...(band ? ends : []), line("bits", "bits", "--s1"), ...texts];
    const says = (point) => `${short(point.bits)} bits${band ? ` (${short(point.low)} to ${short(point.high)})` : ""}${texts.length ? `, Vendi ${short(point.vendi)}` : ""}`;
    return { xs, points: [null, ...points, points.at(-1)], lines, says, unit: share < 1 ? "hours" : "minutes", bands: band ? [{ series: [1, 2], fill: () => `${css("--s1")}29` }] : [] };
  }

  return { css, short, scores, diversity };
})();
