// What the page shows is a plain value, made anew each time; `show` brings the document in line
// with it and leaves alone what is as it should be, so that focus, selection and scroll stay.
// Texts become text nodes and attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "line", "circle", "rect"]);
// These are set as properties: their attributes only say how they began.
const PROPERTIES = new Set(["value", "checked", "open", "disabled", "max", "min"]);

const shown = new WeakMap(); // the value that a node shows

/** An element as a value: a tag, attributes (`key` tells it from its equals), and children. */
export function h(tag, attributes, ...children) {
  const { key, ...rest } = attributes ?? {};
  return { tag, key, attributes: rest, children: flat(children) };
}

/** Make `parent` hold exactly these children. */
export function show(parent, ...wanted) {
  const list = flat(wanted);
  const keys = new Set(list.map((one) => one.key));
  const byKey = new Map();
  for (const node of [...parent.childNodes]) {
    const key = shown.get(node)?.key;
    if (key === undefined) continue;
    // What goes leaves first: a node that had to be moved past it would lose the focus.
    if (keys.has(key)) byKey.set(key, node);
    else node.remove();
  }
  let at = parent.firstChild;
  for (const one of list) {
    let node = one.key === undefined ? at : byKey.get(one.key);
    byKey.delete(one.key); // of two with one key, the second is another node
    if (node == null || !fits(node, one)) {
      node = parent.insertBefore(made(one), at);
    } else if (node === at) {
      at = at.nextSibling;
    } else {
      parent.insertBefore(node, at);
    }
    update(node, one);
  }
  while (at !== null) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((one) => one !== null && one !== undefined && one !== false)
    .map((one) => (typeof one === "object" ? one : String(one)));
}

function fits(node, wanted) {
  if (typeof wanted === "string") return node.nodeType === Node.TEXT_NODE;
  const was = shown.get(node);
  return was !== undefined && was.tag === wanted.tag && was.key === wanted.key;
}

function made(one) {
  if (typeof one === "string") return document.createTextNode(one);
  const node = SVG_TAGS.has(one.tag)
    ? document.createElementNS(SVG, one.tag)
    : document.createElement(one.tag);
  shown.set(node, { tag: one.tag, key: one.key, attributes: {} });
  return node;
}

function update(node, one) {
  if (typeof one === "string") {
    if (node.data !== one) node.data = one;
    return;
  }
  // First what is inside: a <select> takes only a value that it has.
  show(node, one.children);
  const before = shown.get(node).attributes;
  for (const name of Object.keys(before)) {
    if (!(name in one.attributes)) put(node, name, null);
  }
  for (const [name, value] of Object.entries(one.attributes)) {
    if (before[name] !== value) put(node, name, value);
  }
  shown.set(node, one);
}

function put(node, name, value) {
  if (name.startsWith("on")) {
    node[name] = value; // a function, or null
  } else if (PROPERTIES.has(name)) {
    node[name] = value ?? "";
  } else if (name === "style") {
    Object.assign(node.style, value); // the page's policy allows no style attribute
  } else if (value === null || value === undefined || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : value);
  }
}
