"use strict";
/* Where pairs come from and verdicts go: the server, or this page itself. Both answer the same questions. */

/* The server: pairs are leased, verdicts are written to the table at once. */
const serverStore = (author, token) => {
  const session = crypto.randomUUID ? crypto.randomUUID() : `s${Date.now()}-${Math.random()}`;
  const headers = token ? { Authorization: `Bearer ${token}` } : {};

  const ask = async (path, body, more = {}) => {
    const options = body === undefined ? { headers }
      : { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const reply = await fetch(path, { ...options, ...more, cache: "no-store" });
    const value = await reply.json().catch(() => ({ message: `the server answered ${reply.status}` }));
    if (!reply.ok) throw Object.assign(new Error(value.message), { status: reply.status });
    return value;
  };

  const urls = new Map(); // path: promise of an object URL; the oldest go first
  const MAX_URLS = 120;
  const load = (path) => {
    if (!urls.has(path)) {
      const url = fetch(path, { headers }).then(async (reply) =>
        (reply.ok && reply.status !== 204 ? URL.createObjectURL(await reply.blob()) : null)).catch(() => null);
      urls.set(path, url);
      if (urls.size > MAX_URLS) {
        const [oldest, gone] = urls.entries().next().value;
        urls.delete(oldest);
        gone.then((one) => one && URL.revokeObjectURL(one));
      }
    }
    return urls.get(path);
  };

  const full = async (shown) => {
    const [image_id, content] = [shown.image_id, shown.content_id].map(encodeURIComponent);
    const url = await load(`pictures/${image_id}?content=${content}`); // other bytes of the image have another address
    if (!url) return null;
    const image = new Image();
    image.src = url;
    try {
      await image.decode();
    } catch {
      return null; // a format that this browser does not show
    }
    return { url, width: image.naturalWidth, height: image.naturalHeight };
  };

  return {
    lease: (n, held, skipped) => ask("lease", { session, author, n, held, skipped }),
    /* The window goes: others may have its pairs at once. */
    release: (keys) =>
      ask("lease", { session, author, n: 0, held: [], skipped: keys }, { keepalive: true }).catch(() => null),
    judge: (verdicts) => ask("decisions", { session, author, verdicts }).then((value) => value.outcomes),
    place: (card) => ask(`maps/${card.key}`),
    thumbnail: (shown) => load(`thumbnails/${encodeURIComponent(shown.content_id)}`),
    full,
    author,
    isKept: false,
  };
};

/* The page: verdicts stay in this browser until they are saved as a CSV file for `dupelake decide --csv`. */
const pageStore = (data) => {
  const name = `dupelake-review-${data.id}`;
  const read = () => {
    try {
      return JSON.parse(localStorage.getItem(name)) || {};
    } catch {
      return {};
    }
  };
  let given = read();
  const write = () => {
    try {
      localStorage.setItem(name, JSON.stringify(given));
      return true;
    } catch {
      return false; // full, or not allowed: the verdicts stay until the page is closed
    }
  };
  const isOpen = (card) => !(card.key in given);

  /* As csv_cells.py: a text that a spreadsheet would take for a formula gets an apostrophe before it. */
  const cell = (text) => {
    const isFormula = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text);
    const isNumber = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text);
    return `"${(isFormula && !isNumber ? `'${text}` : text).replaceAll('"', '""')}"`;
  };
  const csv = () => {
    const lines = data.cards.filter((card) => !isOpen(card)).flatMap((card) => {
      const sides = [card.left, card.right].filter(Boolean);
      const contents = new Map(sides.map((one) => [one.image_id, one.content_id]));
      return (card.lines[given[card.key]] || []).map(([image, other, verdict]) =>
        [image, other || "", verdict, contents.get(image) || "", contents.get(other) || ""].map(cell).join(","));
    });
    return ["image_id,other_image_id,verdict,content_id,other_content_id", ...lines, ""].join("\r\n");
  };

  return {
    lease: async (n, held, skipped) => {
      const open = data.cards.filter(isOpen);
      const cards = open.filter((card) => !held.includes(card.key) && !skipped.includes(card.key)).slice(0, n);
      return { cards, said: {}, left: open.length, others: {} };
    },
    judge: async (verdicts) => verdicts.map(({ key, action }) => {
      if (action === "undo") delete given[key];
      else given = { ...given, [key]: action };
      const faults = write() ? [] : ["This browser stores nothing for this page; save the CSV before you close it."];
      return { key, status: "added", faults, said: [], seen: 0, conflicts: [] };
    }),
    place: async (card) => card.placed,
    release: () => {},
    thumbnail: async (shown) => data.thumbnails[shown.content_id] || null,
    full: async () => null,
    isKept: true,
    csv,
    count: () => Object.keys(given).length,
  };
};
