"use strict";
/** The only file that knows the chart library: it draws, colours, fills and ranges; panels.js says what. */
const Chart = (() => {
  const PANELS = ["price", "position", "equity", "drawdown"];
  const NARROW = {price: 280, equity: 150, drawdown: 84};
  const NARROW_AXIS = 58, NARROW_BORDER = 30;
  const TOKENS = ["ink", "soft", "mute", "hair", "card", "accent", "gain", "loss", "warn", "bench", "price"];
  const LINES = {price: "price", warn: "warn", funding: "warn", gain: "gain", loss: "loss", accent: "accent", bench: "bench"};
  const AREAS = {long_area: ["gain", .55], short_area: ["loss", .55], loss_area: ["loss", .18]};
  const sources = {}, figures = {}, renderers = {}, filled = new Set();
  let shared = null, isNarrow = false;

  /** Run the library from its text. */
  async function load(packed) {
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await Columns.inflate(packed, "deflate"));
    document.head.append(script);
  }

  /** Return a document, coloured before it is drawn: drawing an empty one first would cost as much again. */
  function build(item) {
    const made = Bokeh.require("document").Document.from_json(item.doc);
    theme([made]);
    return made;
  }

  async function draw(element, made) {
    element.replaceChildren();
    Bokeh.documents.push(made);
    await Bokeh.embed.add_document_standalone(made, element);
  }

  /** Build the linked panels and keep their models by name; `show` fills them before they are drawn. */
  function buildPanels(item, narrow) {
    const made = build(item);
    for (const model of made.all_models) {
      if (model.type === "ColumnDataSource") sources[model.name] = model;
      if (model.type === "Figure") figures[model.name] = model;
    }
    for (const model of made.all_models) {
      if (model.type === "GlyphRenderer") renderers[model.data_source.name] = model;
    }
    shared = figures.price.x_range;
    isNarrow = narrow;
    if (narrow) {
      for (const name of PANELS) figures[name].setv({min_border_right: NARROW_AXIS, min_border_left: NARROW_BORDER});
      for (const [name, height] of Object.entries(NARROW)) figures[name].height = height;
    }
    return made;
  }

  /** Give a source its columns; an empty one is not emptied again. */
  function put(name, columns) {
    const isEmpty = !(columns.x || columns.x0).length;
    if (isEmpty && !filled.has(name)) return;
    if (isEmpty) filled.delete(name); else filled.add(name);
    sources[name].data = columns;
  }

  /** Fit a panel's values; small changes are left, so that a moving view does not tremble. */
  function range(name, low, high, share = .06, least = share) {
    if (!(high > low)) {
      const around = Math.abs(low) * .001 || 1;
      low -= around;
      high += around;
    }
    const below = (high - low) * share, above = (high - low) * least, current = figures[name].y_range;
    const off = (high - low) * share * .02;
    if (Math.abs(current.start - low + below) > off || Math.abs(current.end - high - above) > off) {
      current.setv({start: low - below, end: high + above});
    }
  }

  function css(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }

  /** Colour documents by the page's tokens. */
  function theme(documents = Bokeh.documents) {
    const colours = Object.fromEntries(TOKENS.map(name => [name, css(name)])), font = css("font");
    for (const each of documents) {
      for (const model of each.all_models) {
        if (model.type === "GlyphRenderer") paint(model.glyph, model.name, colours);
        else if (model.type.endsWith("Axis")) axis(model, colours, font);
        else if (model.type === "Grid") model.setv({grid_line_color: model.dimension === 1 ? colours.hair : null});
        else if (model.type === "Title") model.setv({text_color: colours.soft, text_font: font, text_font_size: "12px"});
        else if (model.type === "Span") model.setv({line_color: colours.mute});
        else if (model.type === "DatetimeTicker" && isNarrow) fewer(model);
      }
    }
  }

  /** Colour everything anew and paint it at once, before the next frame: a page that is printed has none. */
  function repaint() {
    theme();
    for (const each of Bokeh.documents) {
      for (const model of each.all_models) {
        const view = model.type === "Figure" && Bokeh.index.find_one(model);
        if (!view) continue;
        for (const renderer of view.renderer_views.values()) renderer.set_visuals?.();  // the library would do so later
        view.request_paint();
        view.repaint();
      }
    }
  }

  /** Leave room between the moments on a narrow axis. */
  function fewer(ticker) {
    for (const each of [ticker, ...ticker.tickers]) each.desired_num_ticks = 3;
  }

  function paint(glyph, name, colours) {
    const value = colour => ({value: colour});
    const [kind, what] = (name || "").split("_");
    if (LINES[name]) glyph.setv({line_color: value(colours[LINES[name]])});
    else if (AREAS[name]) glyph.setv({fill_color: value(colours[AREAS[name][0]]), fill_alpha: value(AREAS[name][1])});
    else if (name === "buy" || name === "sell") {
      const fill = name === "buy" ? colours.gain : colours.loss;
      glyph.setv({fill_color: value(fill), line_color: value(colours.card), line_width: value(1)});
    } else if (name === "up" || name === "down") {
      const fill = name === "up" ? colours.card : colours.price;
      glyph.setv({fill_color: value(fill), line_color: value(colours.price)});
    } else if (kind === "fill") glyph.setv({fill_color: value(colours[what]), line_color: value(colours.card)});
    else if (kind === "mark") glyph.setv({fill_color: value(colours[what]), line_color: value(colours[what])});
    else if (kind === "dot") {
      const colour = value(colours[what]);
      glyph.setv({fill_color: colour, line_color: colour, fill_alpha: value(.35), line_alpha: value(.8)});
    }
  }

  function axis(model, colours, font) {
    model.setv({
      axis_line_color: null, major_tick_line_color: null, minor_tick_line_color: null,
      major_label_text_color: colours.mute, major_label_text_font_size: "12px", major_label_text_font: font,
    });
  }

  /** Give the wheel to the chart, or back to the page. */
  function takeWheel(isTaken) {
    for (const name of PANELS) {
      figures[name].toolbar.tools.find(tool => tool.type === "WheelZoomTool").active = isTaken;
    }
  }

  return {
    PANELS, load, build, buildPanels, draw, put, range, theme, repaint, takeWheel,
    height: name => figures[name].height,
    setView: (from, to) => shared.setv({start: from, end: to}),
    getView: () => [shared.start, shared.end],
    onView: call => shared.change.connect(call),
    onHover: call => PANELS.forEach(name => figures[name].on_event("mousemove", event => call(event.x))),
    /** Tell where the price panel was clicked: a moment and a price. */
    onTap: call => figures.price.on_event("tap", event => call(event.x, event.y)),
    /** Return a measure of how many pixels of the price panel lie between a point and others. */
    distance(moment, price) {
      const {x_range: x, y_range: y, inner_width: width, inner_height: height} = figures.price;
      return (t, p) => Math.hypot((t - moment) / (x.end - x.start) * width, (p - price) / (y.end - y.start) * height);
    },
    /** Say that the page is narrow, where no linked panels say it. */
    setNarrow: narrow => { isNarrow = narrow; },
    setVisible: (name, isVisible) => { renderers[name].visible = isVisible; },
  };
})();
