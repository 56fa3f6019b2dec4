/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page's script: the map of sizes, the filter and the order of the tensors, and the tree where it has no
 * rows of HTML. It makes elements and text, and never parses HTML: what comes from the file stays text. Rows and
 * cards are those of cli/report_tensors.c, word for word.
 */
(function () {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const [NAME, DTYPE, SHAPE, ELEMENTS, BYTES, OFFSET, STATS, SHARD] = data.columns.map((_, i) => i);
  const [COUNT, FINITE, NAN, POSITIVE, NEGATIVE, ZEROS, NEGATIVES, MIN, MAX, MEAN, STD, LOW, HIGH, BINS] =
    data.stats_columns.map((_, i) => i);
  const tensors = data.tensors;
  const measured = tensors.some((tensor) => tensor[STATS]);
  const total = tensors.reduce((sum, tensor) => sum + Number(tensor[BYTES]), 0);

  /* Rows made at a time, in the list and in one group of the tree. */
  const CHUNK = 200;
  /* Of groups that are open from the start. */
  const FEW = 12;
  const BAR_HEIGHT = 100;
  /* Whole numbers from here on are shortened in rows. */
  const ROW_LARGE = 1e7;

  /* -------------------------------------------------------------------------------- elements */

  const byId = (id) => document.getElementById(id);

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function make(tag, attributes, ...children) {
    return fill(document.createElement(tag), attributes, children);
  }

  function draw(tag, attributes, ...children) {
    return fill(document.createElementNS(byId("drawing").namespaceURI, tag), attributes, children);
  }

  /* ------------------------------------------------------------------------------------ text */

  const SUSPECTS = new RegExp("[\\\\\\0-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f" +
    "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb" +
    "\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]", "gu");
  const SHORT = new Map([["\\", "\\\\"], ["\n", "\\n"], ["\t", "\\t"], ["\r", "\\r"]]);

  /* Escapes what cannot be seen or reorders its neighbours, as the program does. */
  function visible(text) {
    return text.replace(SUSPECTS, (c) => {
      const code = c.codePointAt(0);
      const hex = code.toString(16);
      return SHORT.get(c) || (code > 0xffff ? "\\U" + hex.padStart(8, "0") : "\\u" + hex.padStart(4, "0"));
    });
  }

  const nameText = (name) => visible(name) || '""';

  function whole(number) {
    return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
  }

  /* One digit after the point, ties to the even one, as printf does. */
  function tenths(number) {
    const exact = number * 10;
    let rounded = Math.round(exact);
    if (rounded - exact === 0.5 && rounded % 2) rounded--;
    return (rounded / 10).toFixed(1);
  }

  function shorten(number, base, units) {
    let unit = 0;
    for (number = Number(number); number >= base - 0.05 * base / 1000 && unit + 1 < units.length; unit++)
      number /= base;
    return (unit === 0 ? number : number < 99.95 ? tenths(number) : number.toFixed(0)) + units[unit];
  }

  const bytesText = (bytes) => shorten(bytes, 1024, [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"]);

  function percent(part, all) {
    const share = Number(all) ? 100 * Number(part) / Number(all) : 0;
    if (!Number(part)) return "0%";
    if (share < 0.1) return "<0.1%";
    if (share < 100 && share > 99.9) return ">99.9%";
    return (share === 100 ? "100" : tenths(share)) + "%";
  }

  /* As printf's %.*g; whole numbers beyond a double's come as strings, and so do infinities. */
  function general(value, digits) {
    if (value === null) return "-";
    if (typeof value === "string") return value;
    if (value === 0) return Object.is(value, -0) ? "-0" : "0";
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    const power = Number(exponent);
    if (power >= -4 && power < digits) return String(Number(value.toPrecision(digits)));
    return String(Number(mantissa)) + (power < 0 ? "e-" : "e+") + String(Math.abs(power)).padStart(2, "0");
  }

  const isWhole = (tensor) => /^(BOOL|[UI]\d+)$/.test(data.dtypes[tensor[DTYPE]]);
  const extreme = (tensor, value, digits) =>
    value !== null && isWhole(tensor) ? String(value) : general(value, digits);
  /* The same in a row, where whole numbers of many digits are as others. */
  function rangeText(tensor, stats) {
    if (!stats[FINITE]) return "-";
    const text = (value) => isWhole(tensor) && Math.abs(Number(value)) < ROW_LARGE
      ? String(value) : general(Number(value), 4);
    return text(stats[MIN]) + " \u2026 " + text(stats[MAX]);
  }

  function momentsText(stats) {
    return general(stats[MEAN], 3) + (stats[FINITE] ? " \u00b1 " + general(stats[STD], 3) : "");
  }

  const shapeText = (shape) => shape.length ? shape.join(" \u00d7 ") : "scalar";
  const dtypeText = (tensor) => visible(data.dtypes[tensor[DTYPE]]);
  const colour = (dtype) => "c" + dtype % 8;
  const isSick = (stats) => stats !== null && stats[NAN] + stats[POSITIVE] + stats[NEGATIVE] > 0;

  /* ---------------------------------------------------------------------------- rows and cards */

  function bars(className, stats) {
    const svg = draw("svg", {class: className, viewBox: "0 0 " + 4 * stats[BINS].length + " " + BAR_HEIGHT,
                             preserveAspectRatio: "none", "aria-hidden": "true"});
    if (!stats[FINITE]) return svg;
    const most = Math.max(1, ...stats[BINS]);
    const tops = stats[BINS].map((count) => {
      const y = BAR_HEIGHT - Math.floor(BAR_HEIGHT * (count / most) + 0.5);
      return count && y > BAR_HEIGHT - 2 ? BAR_HEIGHT - 2 : y;
    });
    svg.append(draw("path", {d: "M0 " + BAR_HEIGHT + tops.map((y) => "V" + y + "h4").join("") + "V" + BAR_HEIGHT + "z"}));
    return svg;
  }

  function fact(term, description) {
    return make("div", null, make("dt", null, term), make("dd", null, description));
  }

  function card(index) {
    const tensor = tensors[index];
    const stats = tensor[STATS];
    const facts = [["dtype", dtypeText(tensor)], ["shape", shapeText(tensor[SHAPE])],
                   ["elements", whole(tensor[ELEMENTS])], ["bytes", whole(tensor[BYTES])]];
    if (tensor[SHARD] !== null) facts.push(["shard", nameText(data.shards[tensor[SHARD]])]);
    facts.push(["offset", whole(tensor[OFFSET])]);
    if (stats) {
      for (const [term, at] of [["zeros", ZEROS], ["negatives", NEGATIVES], ["NaN", NAN], ["+Inf", POSITIVE],
                                ["-Inf", NEGATIVE]])
        facts.push([term, whole(stats[at]) + (stats[at] ? ", " + percent(stats[at], stats[COUNT]) : "")]);
      facts.push(["min", extreme(tensor, stats[MIN], 7)], ["max", extreme(tensor, stats[MAX], 7)],
                 ["mean", general(stats[MEAN], 7)], ["std", general(stats[STD], 7)]);
    }
    const element = make("div", {class: "card"}, make("p", {class: "full"}, nameText(tensor[NAME])),
                         make("dl", {class: "facts"}, ...facts.map((each) => fact(...each))));
    if (stats && stats[FINITE])
      element.append(make("figure", {class: "histogram"}, bars("bars", stats), make("figcaption", null,
        make("span", null, general(stats[LOW], 4)),
        make("span", null, stats[BINS].length + " bars, the highest of " + whole(Math.max(...stats[BINS]))),
        make("span", null, general(stats[HIGH], 4)))));
    return element;
  }

  /* A row, whose card is made when it is opened. */
  function row(index, label) {
    const tensor = tensors[index];
    const stats = tensor[STATS];
    const summary = make("summary", null, make("span", {class: "name"}, nameText(label)),
      make("span", {class: "dtype"}, make("i", {class: colour(tensor[DTYPE])}), dtypeText(tensor)),
      make("span", {class: "shape"}, shapeText(tensor[SHAPE])),
      make("span", {class: "size"}, bytesText(tensor[BYTES])));
    if (stats) {
      summary.append(
        make("span", {class: "range"}, rangeText(tensor, stats)),
        make("span", {class: "moments"}, momentsText(stats)),
        bars("spark", stats));
      if (isSick(stats)) summary.append(make("span", {class: "sick"}, "NaN or Inf"));
    }
    const details = make("details", {class: "tensor"}, summary);
    details.addEventListener("toggle", () => {
      if (details.open && !details.querySelector(".card")) details.append(card(index));
    });
    return make("li", null, details);
  }

  /* ------------------------------------------------------------------------------------ tree */

  /* Nodes: {label, index of the tensor or -1, children, bytes, tensors, dtype of most bytes, parent}. */
  function nodeMake(label, index, parent) {
    return {label, index, parent, children: [], bytes: 0, tensors: 0, dtype: 0};
  }

  function nodeSum(node) {
    const byDtype = new Map();
    const add = (dtype, bytes) => byDtype.set(dtype, (byDtype.get(dtype) || 0) + bytes);
    if (node.index >= 0) {
      node.tensors = 1;
      add(tensors[node.index][DTYPE], Number(tensors[node.index][BYTES]));
    }
    for (const child of node.children) {
      for (const [dtype, bytes] of nodeSum(child)) add(dtype, bytes);
      node.tensors += child.tensors;
    }
    let most = -1;
    node.bytes = 0;
    for (const [dtype, bytes] of byDtype) {
      node.bytes += bytes;
      if (bytes > most) [most, node.dtype] = [bytes, dtype];
    }
    return byDtype;
  }

  function treeRead(flat) {
    const root = nodeMake("all", -1, null);
    const path = [root];
    for (let i = 0; i < flat.length; i += 3) {
      const parent = path[flat[i]];
      const node = nodeMake(flat[i + 1], flat[i + 2], parent);
      parent.children.push(node);
      path[flat[i] + 1] = node;
    }
    nodeSum(root);
    return root;
  }

  /* The part of a tree that is of one dtype, or null. */
  function treeOf(node, dtype, parent) {
    const index = node.index >= 0 && tensors[node.index][DTYPE] === dtype ? node.index : -1;
    const copy = nodeMake(node.label, index, parent);
    for (const child of node.children) {
      const part = treeOf(child, dtype, copy);
      if (part) copy.children.push(part);
    }
    return index >= 0 || copy.children.length ? copy : null;
  }

  function treeByDtype(root) {
    const all = nodeMake("all", -1, null);
    data.dtypes.forEach((code, dtype) => {
      const part = treeOf(root, dtype, all);
      if (part) {
        part.label = code;
        all.children.push(part);
      }
    });
    nodeSum(all);
    return all;
  }

  const root = treeRead(data.tree);

  function group(node) {
    const list = make("ul");
    const details = make("details", {class: "group"}, make("summary", null,
      make("span", {class: "name"}, nameText(node.label)),
      make("span", {class: "count"}, whole(node.tensors) + (node.tensors === 1 ? " tensor" : " tensors")),
      make("span", {class: "size"}, bytesText(node.bytes))), list);
    let filled = false;
    const fillOnce = () => {
      if (filled) return;
      filled = true;
      level(list, node);
    };
    details.addEventListener("toggle", () => details.open && fillOnce());
    const siblings = node.parent.children.length;
    if (siblings === 1 || (node.parent === root && siblings <= FEW && node.children.length <= FEW)) {
      details.open = true;
      fillOnce();
    }
    return make("li", null, details);
  }

  /* Adds the rows of a node's own tensor and of its children, so many at a time. */
  function level(list, node, from = 0) {
    if (node.index >= 0 && from === 0) list.append(row(node.index, node.label));
    for (const child of node.children.slice(from, from + CHUNK))
      list.append(child.children.length ? group(child) : row(child.index, child.label));
    const left = node.children.length - from - CHUNK;
    if (left <= 0) return;
    const button = make("button", {type: "button"}, "Show " + whole(Math.min(left, CHUNK)) + " of " + whole(left) + " more");
    const item = make("li", null, button);
    button.addEventListener("click", () => {
      item.remove();
      level(list, node, from + CHUNK);
    });
    list.append(item);
  }

  /* ------------------------------------------------------------------- filter and order: a list */

  const found = {matches: [], shown: 0};
  /* Where each tensor stands in the tree, in which layer 10 follows layer 9. */
  const places = [];
  for (let i = 2; i < data.tree.length; i += 3) if (data.tree[i] >= 0) places[data.tree[i]] = i;

  const orders = {
    offset: () => 0,
    name: (a, b) => places[a] - places[b],
    size: (a, b) => tensors[b][BYTES] - tensors[a][BYTES],
    magnitude: (a, b) => magnitude(b) - magnitude(a),
    spread: (a, b) => reach(b, STD) - reach(a, STD),
    zeros: (a, b) => share(b, ZEROS) - share(a, ZEROS),
    sick: (a, b) => sickness(b) - sickness(a),
  };

  function reach(index, column) {
    const stats = tensors[index][STATS];
    return stats && stats[column] !== null ? Number(stats[column]) : -Infinity;
  }

  function magnitude(index) {
    return Math.max(reach(index, MAX), reach(index, MIN) === -Infinity ? -1 : Math.abs(reach(index, MIN)));
  }

  function share(index, column) {
    const stats = tensors[index][STATS];
    return stats && stats[COUNT] ? stats[column] / stats[COUNT] : -1;
  }

  function sickness(index) {
    const stats = tensors[index][STATS];
    return stats ? stats[NAN] + stats[POSITIVE] + stats[NEGATIVE] : -1;
  }

  function moreShow() {
    const list = byId("found");
    const end = Math.min(found.shown + CHUNK, found.matches.length);
    for (; found.shown < end; found.shown++) {
      const index = found.matches[found.shown];
      list.append(row(index, tensors[index][NAME]));
    }
    byId("more").hidden = found.shown === found.matches.length;
  }

  function listMake() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const order = byId("order").value;
    const flat = words.length > 0 || order !== "tree";
    byId("tree").hidden = flat;
    byId("found").hidden = !flat;
    byId("found").replaceChildren();
    byId("unfold").disabled = byId("fold").disabled = flat;
    byId("more").hidden = true;
    byId("status").textContent = "";
    if (!flat) return;
    const matches = [];
    tensors.forEach((tensor, index) => {
      const text = (visible(tensor[NAME]) + " " + data.dtypes[tensor[DTYPE]]).toLowerCase();
      if (words.every((word) => text.includes(word))) matches.push(index);
    });
    if (orders[order] && order !== "offset") matches.sort((a, b) => orders[order](a, b) || a - b);
    found.matches = matches;
    found.shown = 0;
    moreShow();
    byId("status").textContent = whole(matches.length) + " of " + whole(tensors.length) + " tensors";
  }

  function foldAll(open) {
    for (const details of document.querySelectorAll("#tree details.group")) details.open = open;
  }

  function listStart() {
    const order = byId("order");
    if (measured)
      for (const [value, text] of [["magnitude", "largest absolute value first"], ["spread", "largest std first"],
                                   ["zeros", "most zeros first"], ["sick", "NaN and Inf first"]])
        order.append(make("option", {value}, text));
    let timer = 0;
    byId("filter").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(listMake, tensors.length > 5000 ? 200 : 50);
    });
    byId("tools").addEventListener("submit", (event) => event.preventDefault());
    order.addEventListener("change", listMake);
    byId("more").addEventListener("click", moreShow);
    byId("unfold").addEventListener("click", () => foldAll(true));
    byId("fold").addEventListener("click", () => foldAll(false));
    if (!data.rows) {
      byId("unfold").hidden = true;
      level(byId("tree"), root);
    }
    listMake();
  }

  /* ------------------------------------------------------------------------------------- map */

  /* Pixels: a group's head, the least for part of a label, a letter of one, the least that is divided further, the side of the least square that is a cell, the
   * gap. Then how many levels are shown, and how many parts of one group. */
  const HEAD = 20;
  const WORD = 48;
  const LETTER = 7;
  const DIVIDED = 54;
  const LEAST = 12;
  const GAP = 1;
  const LEVELS = 5;
  const PARTS = 400;

  const map = {top: root, byLayer: root, byDtype: null, cells: [], current: 0};

  /*
   * Lays nodes, the largest first, out in a box: rows along the shorter side, each taking one node more as long
   * as the worst of its cells comes closer to a square (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).
   */
  function squarify(nodes, box, place) {
    let {x, y, w, h} = box;
    let left = nodes.reduce((sum, node) => sum + node.bytes, 0);
    for (let first = 0; first < nodes.length;) {
      const scale = w * h / left;
      const side = Math.min(w, h);
      let sum = 0, worst = Infinity, end = first;
      for (; end < nodes.length; end++) {
        const next = sum + nodes[end].bytes;
        const thick = next * scale / side;
        const ratio = Math.max(...[nodes[first], nodes[end]].map((node) => {
          const long = node.bytes * scale / thick;
          return Math.max(long / thick, thick / long);
        }));
        if (ratio > worst) break;
        worst = ratio;
        sum = next;
      }
      const thick = sum * scale / side;
      let at = 0;
      for (; first < end; first++) {
        const long = nodes[first].bytes * scale / thick;
        place(nodes[first], w >= h ? {x, y: y + at, w: thick, h: long} : {x: x + at, y, w: long, h: thick});
        at += long;
      }
      if (w >= h) {
        x += thick;
        w -= thick;
      } else {
        y += thick;
        h -= thick;
      }
      left -= sum;
    }
  }

  /* The bytes of the least cell. */
  function leastOf(node, box) {
    return LEAST * LEAST * node.bytes / (box.w * box.h);
  }

  /* Whether most of a group would be too small to see. */
  function isCrowded(node, box) {
    const least = leastOf(node, box);
    const small = node.children.reduce((sum, child) => sum + (child.bytes < least ? child.bytes : 0), 0);
    return small > node.bytes / 2;
  }

  /* What is in a group, the largest first; what would be too small to see is one node. */
  function partsOf(node, box) {
    const parts = node.children.filter((child) => child.bytes > 0);
    if (node.index >= 0 && node.children.length) {
      const own = nodeMake(node.label, node.index, node);
      nodeSum(own);
      if (own.bytes) parts.push(own);
    }
    parts.sort((a, b) => b.bytes - a.bytes);
    const small = parts.findIndex((part) => part.bytes < leastOf(node, box));
    const kept = Math.min(PARTS, small < 0 ? parts.length : Math.max(small, node === map.top ? PARTS / 4 : 0));
    if (parts.length - kept < 2) return parts;
    const rest = nodeMake(whole(parts.length - kept) + " more", -1, node);
    rest.rest = true;
    rest.children = parts.splice(kept);
    nodeSum(rest);
    parts.push(rest);
    return parts.sort((a, b) => b.bytes - a.bytes);
  }

  function fullName(node) {
    if (node.index >= 0) return nameText(tensors[node.index][NAME]);
    if (node.rest) return fullName(node.parent) + ", " + node.label;
    if (!node.parent) return "all";
    const labels = [];
    for (let at = node; at.parent; at = at.parent) labels.unshift(visible(at.label));
    return labels.join(".") || '""';
  }

  function describe(node) {
    const what = node.index >= 0 && !node.children.length
      ? dtypeText(tensors[node.index]) + " " + shapeText(tensors[node.index][SHAPE])
      : whole(node.tensors) + (node.tensors === 1 ? " tensor" : " tensors");
    return fullName(node) + ": " + bytesText(node.bytes) + ", " + percent(node.bytes, total) + " of all, " + what;
  }

  /* In shares of the map, so that paper may be of another width. */
  function boxPlace(element, box) {
    const area = map.area;
    element.style.left = 100 * box.x / area.w + "%";
    element.style.top = 100 * box.y / area.h + "%";
    element.style.width = 100 * Math.max(box.w - GAP, 0.5) / area.w + "%";
    element.style.height = 100 * Math.max(box.h - GAP, 0.5) / area.h + "%";
  }

  function cellMake(node, box, className, parent) {
    const element = make("button", {type: "button", class: className, tabindex: "-1", "aria-label": describe(node)});
    const label = nameText(node.label);
    const size = bytesText(node.bytes);
    /* Of a few letters and an ellipsis nobody learns anything. */
    if (box.h >= 16 && (box.w >= WORD || box.w >= LETTER * [...label].length + 11))
      element.append(make("span", {class: "label"}, label));
    if (box.h >= 34 && box.w >= LETTER * size.length + 11 && !className.startsWith("head"))
      element.append(make("span", {class: "size"}, size));
    boxPlace(element, box);
    const cell = {node, element, parent};
    element.addEventListener("click", () => cellChoose(cell));
    element.addEventListener("focus", () => cellPoint(cell));
    element.addEventListener("pointerenter", () => pointedSay(node));
    map.cells.push(cell);
    byId("map").append(element);
    return cell;
  }

  function boxDraw(node, box, depth, parent) {
    const inner = {x: box.x + 3, y: box.y + HEAD, w: box.w - 6, h: box.h - HEAD - 3};
    const divided = node.children.length > 0 && !node.rest && depth < LEVELS && box.w >= DIVIDED && box.h >= DIVIDED;
    if (!divided || isCrowded(node, inner)) {
      const kind = node.children.length ? "cell closed " : "cell ";
      cellMake(node, box, kind + colour(node.dtype), parent);
      return;
    }
    const frame = make("div", {class: "frame"});
    boxPlace(frame, box);
    byId("map").append(frame);
    const head = cellMake(node, {x: box.x, y: box.y, w: box.w, h: HEAD}, "head", parent);
    squarify(partsOf(node, inner), inner, (part, place) => boxDraw(part, place, depth + 1, head));
  }

  function trailDraw() {
    const steps = [];
    for (let at = map.top; at; at = at.parent) steps.unshift(at);
    byId("trail").replaceChildren(...steps.flatMap((node, i) => {
      const label = i ? nameText(node.label) : "all";
      if (node === map.top) return [make("span", {"aria-current": "true"}, label)];
      const button = make("button", {type: "button"}, label);
      button.addEventListener("click", () => mapZoom(node, true));
      return [button, " \u203a "];
    }));
  }

  function mapDraw() {
    const element = byId("map");
    map.area = {w: Math.max(element.clientWidth, 50), h: Math.max(element.clientHeight, 50)};
    map.cells = [];
    map.current = 0;
    element.replaceChildren();
    const box = {x: 0, y: 0, w: map.area.w, h: map.area.h};
    if (map.top.bytes > 0)
      squarify(partsOf(map.top, box), box, (part, place) => boxDraw(part, place, 1, null));
    else
      element.append(make("p", {class: "hint"}, "There are no bytes to show."));
    if (map.cells.length) map.cells[0].element.tabIndex = 0;
    trailDraw();
    pointedSay(map.top);
  }

  function mapZoom(node, focus) {
    map.top = node;
    byId("picked").replaceChildren();
    mapDraw();
    if (focus && map.cells.length) map.cells[0].element.focus({preventScroll: true});
  }

  function cellChoose(cell) {
    if (cell.node.children.length) {
      mapZoom(cell.node, true);
      return;
    }
    cellPoint(cell);
    for (const each of map.cells) each.element.removeAttribute("aria-current");
    cell.element.setAttribute("aria-current", "true");
    byId("picked").replaceChildren(card(cell.node.index));
  }

  function pointedSay(node) {
    byId("pointed").textContent = describe(node);
  }

  /* One cell is in the order of the Tab key: the one that was reached last. */
  function cellPoint(cell) {
    map.cells[map.current].element.tabIndex = -1;
    map.current = map.cells.indexOf(cell);
    cell.element.tabIndex = 0;
    pointedSay(cell.node);
  }

  function keyMove(key) {
    const cells = map.cells;
    const cell = cells[map.current];
    const siblings = cells.filter((each) => each.parent === cell.parent);
    const place = siblings.indexOf(cell);
    switch (key) {
    case "ArrowRight": return siblings[place + 1];
    case "ArrowLeft": return siblings[place - 1];
    case "ArrowDown": return cells.find((each) => each.parent === cell) || siblings[place + 1];
    case "ArrowUp": return cell.parent || siblings[place - 1];
    case "Home": return cells[0];
    case "End": return cells[cells.length - 1];
    default: return undefined;
    }
  }

  function mapKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" || event.key === "Backspace") {
      if (!map.top.parent) return;
      event.preventDefault();
      mapZoom(map.top.parent, true);
    } else if (/^(Arrow|Home|End)/.test(event.key) && map.cells.length) {
      event.preventDefault();
      const cell = keyMove(event.key);
      if (cell) cell.element.focus();
    }
  }

  function mapStart() {
    const element = byId("map");
    element.addEventListener("keydown", mapKey);
    element.addEventListener("pointerleave", () => pointedSay(map.top));
    for (const radio of document.querySelectorAll("input[name=grouping]"))
      radio.addEventListener("change", () => {
        if (!map.byDtype) map.byDtype = treeByDtype(root);
        mapZoom(radio.value === "dtype" ? map.byDtype : map.byLayer, false);
      });
    mapDraw();
    let width = element.clientWidth;
    new ResizeObserver(() => {
      if (element.clientWidth === width) return;
      width = element.clientWidth;
      mapDraw();
    }).observe(element);
  }

  /* ------------------------------------------------------------------------------------ start */

  /* Closed groups would not be printed. */
  function printStart() {
    let closed = [];
    window.addEventListener("beforeprint", () => {
      closed = [...document.querySelectorAll("#tree details.group:not([open]), .metadata details:not([open])")];
      for (const details of closed) details.open = true;
    });
    window.addEventListener("afterprint", () => {
      for (const details of closed) details.open = false;
    });
  }

  for (const element of document.querySelectorAll(".scripted")) element.hidden = false;
  listStart();
  mapStart();
  printStart();
})();
