// Makes figures interactive: values at the pointer or by arrow keys, zoom by dragging, points that open a submission.
// Without scripts a figure is described in words. Data come from the tables that are linked below each figure.
(() => {
  const { css, short } = figures;

  async function table(address) {
    const seen = document.body.dataset.seen;
    const answer = await fetch(address, seen ? { headers: { "aar-seen": seen } } : {});
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    const { columns, rows } = await answer.json();
    return rows.map((row) => Object.fromEntries(columns.map((name, index) => [name, row[index]])));
  }

  // A submission: a disc; a diamond if confirmed, a cross if refuted, with its interval; an arrow if it is out of range.
  function mark(u, point) {
    const { ctx } = u;
    const px = devicePixelRatio;
    const at = (value) => u.valToPos(value, "y", true);
    const [x, edge] = [u.valToPos(point.x, "x", true), u.bbox.top + (point.score < u.scales.y.min ? u.bbox.height : 0)];
    const beyond = point.score < u.scales.y.min || point.score > u.scales.y.max;
    const y = beyond ? edge : at(point.score);
    const way = (beyond && edge > u.bbox.top ? -7 : 7) * px;
    ctx.lineWidth = 1.5 * px;
    ctx.beginPath();
    if (!beyond) {
      ctx.globalAlpha = 0.45;
      ctx.moveTo(x, at(point.low));
      ctx.lineTo(x, at(point.high));
      ctx.stroke();
      ctx.globalAlpha = 1;
      ctx.beginPath();
    }
    const trace = (...ends) => ends.forEach(([dx, dy], index) => ctx[index ? "lineTo" : "moveTo"](x + dx * px, y + dy * px));
    if (beyond) { ctx.moveTo(x, y); ctx.lineTo(x - 5 * px, y + way); ctx.lineTo(x + 5 * px, y + way); ctx.fill(); }
    else if (point.status === "refuted") { trace([-4, -4], [4, 4]); trace([4, -4], [-4, 4]); ctx.stroke(); }
    else if (point.status === "confirmed") { trace([0, -6.5], [6.5, 0], [0, 6.5], [-6.5, 0]); ctx.fill(); }
    else { ctx.arc(x, y, 4.5 * px, 0, 7); ctx.fill(); }
  }

  function inFrame(u, draw) {
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    u.ctx.clip();
    draw(u.ctx);
    u.ctx.restore();
  }

  class Plot {
    constructor(box) {
      this.box = box;
      box.plot = this;
      this.of = document.getElementById(box.dataset.of);
      this.small = box.closest(".small-figure") !== null;
    }

    get size() {
      const width = this.box.clientWidth;
      return { width, height: this.small ? 210 : width < 560 ? 300 : 360 };
    }

    async take() {
      const plan = JSON.parse(this.of.dataset.plot);
      if (this.plan?.version !== plan.version || !this.tables) this.tables = await Promise.all(plan.tables.map(table));
      this.plan = plan;
      this.shown = figures[plan.kind](plan, this.tables);
      const section = this.box.closest("section");
      if (this.tables.some((rows) => rows.length)) section.hidden = false;
      if (!section.hidden) this.draw();
    }

    draw() {
      const { xs, lines } = this.shown;
      const data = [xs, ...lines.map((line) => line.ys)];
      const labels = lines.map((line) => line.label).join("\n");
      if (this.u && labels === this.labels) {
        const view = this.view;
        this.end = xs.at(-1);
        if (!view) this.u.setData(data);
        else this.u.batch(() => { this.u.setData(data, false); this.look(view); });
        return;
      }
      this.labels = labels;
      this.rebuild(data);
    }

    // The range of a zoom; null while all is shown.
    get view() {
      if (!this.u) return null;
      const { x, y } = this.u.scales;
      const [low, high] = this.plan.range;
      return x.min > 1e-9 || x.max < this.end - 1e-9 || y.min > low + 1e-9 || y.max < high - 1e-9 ? { x: { ...x }, y: { ...y } } : null;
    }

    look(view) {
      for (const key of ["x", "y"]) this.u.setScale(key, { min: view[key].min, max: view[key].max });
    }

    rebuild(data) {
      const view = this.view;
      const hidden = this.u ? this.u.series.filter((each) => !each.show).map((each) => each.name) : [];
      this.u?.destroy();
      this.end = data[0].at(-1);
      const { lines, unit, bands } = this.shown;
      const font = `12px ${css("--sans")}`;
      const axis = (more) => ({ stroke: () => css("--soft"), grid: { stroke: () => css("--line"), width: 1 }, ticks: { show: false }, font, ...more });
      const tell = (value) => (unit === "$" ? `$${short(value)}` : `${short(value)} ${unit} of running`);
      const hint = matchMedia("(hover: none)").matches ? "" : `Drag to zoom, double-click to see all${this.plan.pages ? "; click a point to open it" : ""}`;
      const series = lines.map((line) => {
        const label = document.createElement("button");
        label.type = "button";
        label.textContent = line.label;
        const show = !hidden.includes(line.label);
        label.setAttribute("aria-pressed", show);
        return { ...line, name: line.label, label, show, points: { show: false, size: line.named ? 0 : 9 }, value: (_, value) => (line.named ? "" : short(value)) };
      });
      this.u = new uPlot({
        ...this.size,
        bands,
        scales: {
          x: { time: false, range: (_, low, high) => [low, high] },
          y: { range: () => this.plan.range },
        },
        axes: [
          axis({ label: unit === "$" ? "dollars billed" : `${unit} of running`, labelSize: 18, labelFont: font, size: 26, gap: 2, space: 60,
            ...(unit === "$" ? {} : { incrs: [0.1, 0.25, 0.5, 1, 2, ...(unit === "hours" ? [3, 6, 12, 24, 48] : [5, 10, 15, 30, 60])] }),
            values: (_, values) => values.map((value) => (unit === "$" ? `$${short(value)}` : short(value))) }),
          axis({ size: 48, values: (_, values) => values.map(short) }),
        ],
        series: [{ label: "", value: (_, value, __, at) => (value == null ? hint : this.about(at) || tell(value)) }, ...series],
        legend: { markers: { fill: (u, index) => (u.series[index].named ? "transparent" : u.series[index].stroke(u, index)) } },
        cursor: { y: false, drag: { x: true, y: true, uni: 30 } },
        hooks: {
          drawSeries: [(u, index) => this.marks(u, index)],
          draw: [(u) => this.names(u)],
          setSeries: [(u, index) => index && u.series[index].label.setAttribute("aria-pressed", u.series[index].show)],
        },
      }, data, this.box);
      this.box.parentElement.classList.add("plotted");
      this.reach();
      if (view) this.u.batch(() => this.look(view));
    }

    about(at) {
      const point = at == null ? null : this.shown.points[at];
      return point ? this.shown.says(point) : "";
    }

    marks(u, index) {
      const line = this.shown.lines[index - 1];
      if (!line.marks) return;
      inFrame(u, (ctx) => {
        ctx.fillStyle = ctx.strokeStyle = line.stroke();
        for (const point of line.marks.values()) mark(u, point);
      });
    }

    names(u) {
      inFrame(u, (ctx) => {
        ctx.font = `${11 * devicePixelRatio}px ${css("--sans")}`;
        ctx.textAlign = "right";
        this.shown.lines.forEach((line, index) => {
          if (!line.named || !u.series[index + 1].show) return;
          ctx.fillStyle = line.stroke();
          ctx.fillText(line.named, u.bbox.left + u.bbox.width - 4, u.valToPos(line.ys[0], "y", true) + (line.below ? 13 : -5) * devicePixelRatio);
        });
      });
    }

    // With a keyboard: arrows go from point to point, Enter opens one, Escape shows all again. With a mouse: a click opens.
    reach() {
      const { over } = this.u;
      const { points } = this.shown;
      over.tabIndex = 0;
      for (const [name, value] of Object.entries({ role: "slider", "aria-label": this.plan.description, "aria-valuemin": 0 })) over.setAttribute(name, value);
      const stand = (at) => {
        this.at = Math.min(Math.max(at, 0), this.shown.xs.length - 1);
        over.setAttribute("aria-valuemax", this.shown.xs.length - 1);
        over.setAttribute("aria-valuenow", this.at);
        over.setAttribute("aria-valuetext", this.about(this.at) || "no point");
      };
      stand(points[0] ? 0 : 1);
      const open = (point) => { if (point?.submission && this.plan.pages) location.assign(this.plan.pages[point.side] + point.submission); };
      over.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
        if (by) {
          stand(this.at + by);
          const top = this.u.height / 2;
          this.u.setCursor({ left: this.u.valToPos(this.shown.xs[this.at], "x"), top });
        } else if (event.key === "Enter") open(this.shown.points[this.at]);
        else if (event.key === "Escape") this.u.setData(this.u.data);
        else return;
        event.preventDefault();
      });
      const near = (event) => this.shown.points.find((point) => point?.score !== undefined
        && Math.hypot(this.u.valToPos(point.x, "x") - event.offsetX, this.u.valToPos(point.score, "y") - event.offsetY) < 10);
      over.addEventListener("mousemove", (event) => { over.style.cursor = near(event) ? "pointer" : ""; });
      over.addEventListener("click", (event) => open(near(event)));
    }
  }

  const plots = [...document.querySelectorAll(".plot")].map((box) => new Plot(box));
  const take = () => plots.forEach((plot) => plot.take().catch((wrong) => console.error(wrong)));
  document.body.addEventListener("htmx:afterRequest", (event) => event.detail.successful && take());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach((plot) => plot.u && plot.rebuild(plot.u.data)));
  const watch = new ResizeObserver((changes) => changes.forEach(({ target }) => {
    const plot = plots.find((each) => each.box === target);
    if (plot.u && plot.u.width !== plot.size.width) plot.u.setSize(plot.size);
  }));
  plots.forEach((plot) => watch.observe(plot.box));
  take();
})();
