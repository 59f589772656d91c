"use strict";
/* What a reviewer does: keys and buttons, the queue, verdicts on their way, undo, batches. */

(() => {
  const $ = (id) => document.getElementById(id);
  const BATCH = 100;
  const AHEAD = 10; // pairs that are fetched at once
  const BEAT_MS = 15000;
  const READ_MS = 1500; // after which a line that appeared counts as read
  const WORDS = {
    duplicate: "duplicate", not_duplicate: "not duplicate", alternate: "alternate", keep_left: "keep left",
    keep_right: "keep right", keeper: "keeper", withdrawn: "withdrawn", skip: "skipped",
  };
  const WHAT = {
    conflict: "Verdicts contradict each other", "rejected, close": "Just below the threshold",
    "accepted, close": "Just above the threshold", "another shot": "Another shot?",
    "link between groups": "Links two groups", "large group": "Weakest member of a large group",
    alternate: "Alternate",
  };

  let store = null;
  let queue = []; // pairs in hand; the first one is shown
  let skipped = new Map();
  let history = []; // {card, action}, the newest last
  let outbox = []; // verdicts that were not sent yet
  let sending = [];
  let batch = { n: 0, counts: {} };
  let totals = { left: 0, others: {} };
  let shown = null; // the pair on the screen
  let isComing = false; // more pairs were asked for
  let isFinished = false; // a batch is done, or there is nothing to judge
  let pause = 0;

  // ------------------------------------------------------------------ texts

  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

  const notice = (text, kind = "info", about = "") => {
    const line = document.createElement("p");
    line.dataset.about = about;
    line.className = `notice ${kind}`;
    const words = document.createElement("span");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "quiet";
    close.setAttribute("aria-label", "Dismiss");
    close.textContent = "×";
    close.addEventListener("click", () => line.remove());
    line.append(words, close);
    $("notices").prepend(line);
    while ($("notices").children.length > 4) $("notices").lastElementChild.remove();
    if (kind === "info") setTimeout(() => line.remove(), 6000);
  };

  const clock = (micros) =>
    new Date(micros / 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const newest = (said) => said.reduce((time, one) => Math.max(time, one.at), 0);
  const nameOf = (who) => (who === store.author ? "you in another window" : who);
  const warning = (text) => {
    const line = document.createElement("p");
    line.className = "notice warn";
    line.textContent = text;
    return line;
  };

  const showWarnings = (card) => {
    const lines = (card.said || []).slice(-3).map((one) =>
      warning(`${one.author} said “${WORDS[one.verdict] || one.verdict}”`
        + `${one.side ? ` of the ${one.side} picture` : ""} (${clock(one.at)}). `
        + `${one.side ? "Keep left and keep right replace" : "A verdict of yours replaces"} it; skip to leave it.`));
    if (card.unsaved) lines.unshift(warning(card.unsaved));
    $("warnings").replaceChildren(...lines);
  };

  const fillName = (side, shown) => {
    const place = $(`${side}-name`);
    place.hidden = !shown;
    if (!shown) return;
    place.querySelector(".file").textContent = shown.name;
    place.querySelector(".size").textContent = shown.size;
    place.querySelector(".group").textContent = shown.group;
  };

  const fillMore = (card) => {
    $("why").textContent = `Why it is asked: ${card.why}`;
    const lines = card.measures.map((line) => Object.assign(document.createElement("li"), { textContent: line }));
    $("measures").replaceChildren(...lines);
    const entries = [];
    for (const [side, shown] of [["Left", card.left], ["Right", card.right]]) {
      if (!shown) continue;
      const rows = [["image", shown.image_id], ["path", shown.uri], ["reason", shown.reason]];
      for (const [name, text] of rows) {
        if (!text) continue;
        entries.push(Object.assign(document.createElement("dt"), { textContent: `${side}, ${name}` }));
        entries.push(Object.assign(document.createElement("dd"), { textContent: text }));
      }
    }
    $("paths").replaceChildren(...entries);
  };

  const progress = () => {
    const others = Object.entries(totals.others).map(([who, n]) => `${n} with ${nameOf(who)}`).join(", ");
    const waiting = Math.max(0, totals.left - outbox.length - sending.length);
    const size = Math.min(BATCH, batch.n + waiting) || 1;
    $("bar").max = size;
    $("bar").value = batch.n;
    const parts = [`${batch.n} of ${size} in this batch`, `${waiting} left`];
    if (skipped.size) parts.push(`${skipped.size} skipped`);
    if (others) parts.push(others);
    $("progress-text").textContent = parts.join(" · ");
    const n = outbox.length + sending.length;
    if (!pause) $("saving").textContent = store.isKept ? plural(store.count(), "verdict") : n ? `Saving ${n}…` : "Saved";
  };

  // ------------------------------------------------------------------ what is shown

  const place = async (card) => {
    if (card.placed || card.isPlacing || !card.right) return;
    card.isPlacing = true;
    try {
      card.placed = await store.place(card);
    } catch {
      return; // shown side by side; asked for again with the next look at it
    } finally {
      card.isPlacing = false;
    }
    if (queue[0] === card) stage.refresh();
  };

  const warm = () => {
    for (const card of queue.slice(0, 4)) {
      place(card);
      for (const shown of [card.left, card.right]) {
        if (!shown || !shown.size_px) continue;
        store.thumbnail(shown);
        store.full(shown);
      }
    }
  };

  const show = () => {
    const card = queue[0];
    const isOver = isFinished || !card;
    shown = isOver ? null : card;
    $("pair").hidden = $("verdicts").hidden = isOver;
    $("done").hidden = !isOver;
    progress();
    if (isOver) {
      finish();
      return;
    }
    $("what").textContent = WHAT[card.what] || card.what;
    $("sure").textContent = card.sure;
    $("headline").textContent = card.headline;
    $("detail").textContent = card.detail;
    showWarnings(card);
    for (const line of $("notices").querySelectorAll(`[data-about="${card.key}"]`)) line.remove();
    card.seen = newest(card.said || []);
    fillName("left", card.left);
    fillName("right", card.right);
    fillMore(card);
    for (const button of $("verdicts").querySelectorAll("[data-action]")) {
      const { action } = button.dataset;
      button.hidden = !["skip", "undo"].includes(action) && !(action in card.lines);
    }
    stage.show(card, store);
    warm();
  };

  const finish = () => {
    const isWaiting = isComing && !queue.length && !isFinished;
    $("done").classList.toggle("waiting", isWaiting);
    if (isWaiting) {
      $("done-title").textContent = "One moment: more pairs are on their way";
      return;
    }
    const isEnd = !queue.length;
    const done = plural(batch.n, "pair");
    $("done-title").textContent = batch.n ? `${done} judged` : "Nothing needs a look";
    const waiting = totals.left - outbox.length - sending.length;
    const others = Object.entries(totals.others).map(([who, n]) => `${plural(n, "pair")} with ${nameOf(who)}`).join(", ");
    $("done-text").textContent = isEnd
      ? `${batch.n ? "There is no other pair for you now." : "All pairs are judged."}`
        + `${skipped.size ? ` You skipped ${skipped.size}.` : ""}${others ? ` Others look at ${others}.` : ""}`
      : `${plural(Math.max(0, waiting), "pair")} left. Press U to take the last verdict back.`;
    $("done-counts").replaceChildren(...Object.entries(batch.counts).filter(([, n]) => n).map(([word, n]) =>
      Object.assign(document.createElement("li"), { textContent: `${n} ${WORDS[word]}` })));
    $("next-batch").firstChild.textContent = isEnd ? "Look for more " : "Next pairs ";
    $("skipped-again").hidden = !skipped.size;
    $("next-batch").focus();
  };

  // ------------------------------------------------------------------ pairs come

  const keysInHand = () => [...queue, ...outbox.map((one) => one.card), ...sending.map((one) => one.card)]
    .map((card) => card.key);

  const heard = (said) => {
    for (const card of queue) {
      const lines = said[card.key];
      if (!lines || newest(lines) <= newest(card.said || [])) continue;
      card.said = lines;
      if (card !== queue[0] || isFinished) continue;
      showWarnings(card);
      setTimeout(() => { if (queue[0] === card) card.seen = newest(card.said); }, READ_MS);
    }
  };

  /* One request after the other, so that no pair is asked for twice. Gives the number of new pairs. */
  let fetching = Promise.resolve(0);
  const fetchMore = (n = AHEAD) => {
    fetching = fetching.catch(() => 0).then(() => fetchNow(n));
    return fetching;
  };

  const fetchNow = async (n) => {
    try {
      const answer = await store.lease(n, keysInHand(), [...skipped.keys()]);
      const known = new Set(keysInHand());
      const added = answer.cards.filter((card) => !known.has(card.key));
      queue.push(...added);
      totals = { left: answer.left, others: answer.others };
      heard(answer.said);
      return added.length;
    } catch (error) {
      if (error.status === 401) throw error;
      notice(`No pairs came: ${error.message}`, "warn");
      return 0;
    }
  };

  const topUp = async () => {
    if (isComing || queue.length > AHEAD / 2) return;
    isComing = true;
    const n = await fetchMore();
    isComing = false;
    if (!isFinished && (queue[0] || null) !== shown) show();
    else if (!queue.length) show();
    else progress();
    warm();
    if (n) topUp();
  };

  // ------------------------------------------------------------------ verdicts go

  const counted = (action, step) => {
    batch.n = Math.max(0, batch.n + step);
    batch.counts[action] = Math.max(0, (batch.counts[action] || 0) + step);
  };

  /* A pair whose verdict was not stored comes right after the one that is shown, so that no key hits the wrong pair. */
  const giveBack = (item, outcome, text) => {
    const at = history.findLastIndex((one) => one.card === item.card && one.action === item.action);
    if (at >= 0) {
      history.splice(at, 1);
      counted(item.action, -1);
    }
    item.card.said = outcome.said;
    item.card.unsaved = text;
    if (!queue.includes(item.card)) queue.splice(queue.length && !isFinished ? 1 : 0, 0, item.card);
    else showWarnings(queue[0]);
  };

  const took = (item, outcome) => {
    const { card, action } = item;
    if (outcome.status === "added") {
      card.seen = outcome.seen;
      card.said = outcome.said;
      card.unsaved = null;
      totals.left += action === "undo" ? 1 : -1;
      for (const text of outcome.conflicts) notice(`Contradiction: ${text}`, "warn");
      for (const text of outcome.faults) notice(text, "warn");
      return;
    }
    const name = card.left.name;
    if (action === "undo") {
      card.said = outcome.said;
      notice(`Not taken back (${name}): ${outcome.faults.join("; ") || "somebody judged it after you"}`, "warn");
      if (queue[0] === card) showWarnings(card);
      return;
    }
    const word = WORDS[action];
    const text = outcome.status === "meanwhile"
      ? `Your “${word}” was not stored, because another verdict came in meanwhile.`
      : `Your “${word}” was refused: ${outcome.faults.join("; ")}`;
    giveBack(item, outcome, text);
    notice(`${name}: ${text} The pair comes next.`, "warn", card.key);
    if (isFinished || queue.length === 1) {
      isFinished = false;
      show();
    }
  };

  /* As many as wait, but of one pair only one: an undo must know what became of the verdict. */
  const nextItems = () => {
    const items = [];
    for (const item of outbox) {
      if (items.length === 20 || items.some((one) => one.card === item.card)) break;
      items.push(item);
    }
    return items;
  };

  const flush = async () => {
    if (sending.length || !outbox.length) return;
    sending = nextItems();
    outbox.splice(0, sending.length);
    progress();
    try {
      const asked = sending.map(({ card, action }) => ({ key: card.key, action, seen: card.seen || 0 }));
      const outcomes = await store.judge(asked);
      const items = sending;
      sending = [];
      pause = 0;
      $("saving").classList.remove("failed");
      outcomes.forEach((outcome, i) => took(items[i], outcome));
    } catch (error) {
      outbox.unshift(...sending);
      sending = [];
      pause = Math.min(15000, 2 * pause || 1000);
      $("saving").classList.add("failed");
      $("saving").textContent = `${plural(outbox.length, "verdict")} not saved yet: ${error.message}`;
      setTimeout(flush, pause);
      return;
    }
    progress();
    flush();
  };

  const judge = (action) => {
    const card = queue[0];
    if (!card || isFinished || !(action in card.lines)) return;
    queue.shift();
    history.push({ card, action });
    outbox.push({ card, action });
    counted(action, 1);
    next();
  };

  const skip = () => {
    const card = queue[0];
    if (!card || isFinished) return;
    queue.shift();
    skipped.set(card.key, card);
    history.push({ card, action: "skip" });
    next();
  };

  const next = () => {
    isFinished = batch.n >= BATCH;
    topUp();
    show();
    flush();
  };

  const undo = () => {
    const last = history.pop();
    if (!last) {
      notice("There is nothing to take back in this window.");
      return;
    }
    const { card, action } = last;
    if (action === "skip") {
      skipped.delete(card.key);
    } else {
      counted(action, -1);
      const at = outbox.findIndex((one) => one.card === card);
      if (at >= 0) outbox.splice(at, 1);
      else outbox.push({ card, action: "undo" });
    }
    queue = [card, ...queue.filter((one) => one.key !== card.key)];
    isFinished = false;
    notice(`Taken back: ${WORDS[action]}.`);
    show();
    flush();
  };

  const nextBatch = async () => {
    if (batch.n >= BATCH || !queue.length) batch = { n: 0, counts: {} };
    isFinished = false;
    if (!queue.length) await fetchMore();
    show();
    topUp();
  };

  // ------------------------------------------------------------------ keys and buttons

  const ACTIONS = {
    d: "duplicate", n: "not_duplicate", a: "alternate", l: "keep_left", r: "keep_right", w: "withdrawn",
  };
  const VIEWS = { 1: "side", 2: "flicker", 3: "slider", 4: "difference" };
  const doAction = (action) => (action === "skip" ? skip() : action === "undo" ? undo() : judge(action));

  const onKey = (event) => {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || !store) return;
    if (target.matches("input:not([type=range]):not([type=checkbox]), textarea") || !$("use-keys").checked) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "f") {
      if (!event.repeat && !isFinished) stage.hold(true);
    } else if (key === "ArrowLeft" || key === "ArrowRight") {
      if (stage.view() !== "slider" || target.id === "slide") return;
      stage.slideBy(key === "ArrowLeft" ? -4 : 4);
    } else if (event.repeat) {
      return;
    } else if (key === "?") {
      $("help").showModal();
    } else if (key === "u") {
      undo();
    } else if (isFinished || !queue.length) {
      if (key === "Enter" && target.id !== "next-batch" && !target.matches("button, summary")) nextBatch();
      else return;
    } else if (key in ACTIONS) {
      judge(ACTIONS[key]);
    } else if (key === "s") {
      skip();
    } else if (key in VIEWS) {
      stage.setView(VIEWS[key]);
    } else if (key === "b") {
      $("boxes").checked = !$("boxes").checked;
      stage.refresh();
    } else if (key === "m") {
      $("more").open = !$("more").open;
    } else {
      return;
    }
    event.preventDefault();
  };

  const wire = () => {
    document.addEventListener("keydown", onKey);
    document.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "f") stage.hold(false); });
    $("verdicts").addEventListener("click", (event) => {
      const button = event.target.closest("[data-action]");
      if (button) doAction(button.dataset.action);
    });
    document.querySelector(".views").addEventListener("click", (event) => {
      const button = event.target.closest("[data-view]");
      if (button) stage.setView(button.dataset.view);
    });
    $("next-batch").addEventListener("click", nextBatch);
    $("skipped-again").addEventListener("click", () => {
      skipped = new Map();
      nextBatch();
    });
    $("open-help").addEventListener("click", () => $("help").showModal());
    $("export").addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([store.csv()], { type: "text/csv" }));
      link.download = "review.csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    window.addEventListener("pagehide", () => { if (store) store.release(queue.map((card) => card.key)); });
    window.addEventListener("beforeunload", (event) => {
      if (outbox.length || sending.length) event.preventDefault();
    });
  };

  // ------------------------------------------------------------------ begin

  const begin = async (chosen) => {
    store = chosen;
    await fetchMore();
    $("start").hidden = true;
    show();
    if (!store.isKept) setInterval(() => fetchMore(0).then(progress), BEAT_MS);
  };

  const askWho = () => {
    const needsToken = document.body.dataset.needsToken === "yes";
    const inLink = new URLSearchParams(location.hash.slice(1)).get("token");
    if (inLink) window.history.replaceState(null, "", location.pathname); // not left in the address bar
    $("start").hidden = false;
    $("token-row").hidden = !needsToken;
    $("token").required = needsToken;
    $("token").value = inLink || "";
    try {
      $("author").value = localStorage.getItem("dupelake-author") || "";
    } catch { /* not allowed here */ }
    $("author").focus();
    $("start-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const author = $("author").value.trim();
      if (!author) return;
      try {
        localStorage.setItem("dupelake-author", author);
      } catch { /* not allowed here */ }
      try {
        await begin(serverStore(author, $("token").value.trim()));
      } catch (error) {
        store = null;
        notice(error.message, "warn");
      }
    });
  };

  wire();
  if (document.body.dataset.mode === "page") {
    $("export").hidden = false;
    begin(pageStore(JSON.parse($("data").textContent)));
  } else {
    askWho();
  }
})();
