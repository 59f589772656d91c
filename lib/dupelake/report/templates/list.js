// A list box that has elements for the rows in view only.

const ROW_PX = 76; // as in groups.css
const AROUND = 4; // rows above and below the view

class VirtualList {
  constructor(box, draw, onChoose) {
    this.box = box;
    this.draw = draw; // fills the element of a row
    this.onChoose = onChoose; // called with the place of the chosen row
    this.rows = [];
    this.at = -1;
    this.space = make("div", { className: "space", role: "presentation" });
    this.pool = new Map(); // elements by the place of their row
    this.free = [];
    box.append(this.space);
    box.addEventListener("scroll", () => this.later(), { passive: true });
    new ResizeObserver(() => this.later()).observe(box);
    this.space.addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) this.choose(Number(row.dataset.place), true);
    });
  }

  show(rows, at = 0) {
    this.rows = rows;
    this.space.style.height = `${rows.length * ROW_PX}px`;
    for (const row of this.pool.values()) this.drop(row);
    this.pool.clear();
    this.at = -1;
    if (rows.length) this.choose(Math.min(Math.max(at, 0), rows.length - 1), false);
    else this.box.removeAttribute("aria-activedescendant");
    this.render();
  }

  later() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
    });
  }

  render() {
    const top = this.box.scrollTop, height = this.box.clientHeight;
    if (!height) return;
    const from = Math.max(0, Math.floor(top / ROW_PX) - AROUND);
    const to = Math.min(this.rows.length, Math.ceil((top + height) / ROW_PX) + AROUND);
    for (const [place, row] of this.pool) {
      if (place < from || place >= to) {
        this.pool.delete(place);
        this.drop(row);
      }
    }
    for (let place = from; place < to; place += 1) {
      if (!this.pool.has(place)) this.pool.set(place, this.fill(place));
    }
    if (to > from && !this.isDrawn) {
      this.isDrawn = true;
      performance.mark("first-group");
    }
  }

  fill(place) {
    const row = this.free.pop() || make("div", { role: "option", className: "row" });
    row.id = `row-${place}`;
    row.dataset.place = place;
    row.style.transform = `translateY(${place * ROW_PX}px)`;
    row.setAttribute("aria-posinset", place + 1);
    row.setAttribute("aria-setsize", this.rows.length);
    row.setAttribute("aria-selected", place === this.at);
    this.draw(row, this.rows[place]);
    if (!row.isConnected) this.space.append(row);
    row.hidden = false;
    return row;
  }

  drop(row) {
    row.hidden = true;
    row.id = "";
    this.free.push(row);
  }

  // Draws the rows in view again, as when pictures have come.
  redraw() {
    for (const [place, row] of this.pool) this.draw(row, this.rows[place]);
  }

  choose(place, isOpened) {
    if (place < 0 || place >= this.rows.length) return;
    this.pool.get(this.at)?.setAttribute("aria-selected", false);
    this.at = place;
    const top = place * ROW_PX, height = this.box.clientHeight;
    if (height && top < this.box.scrollTop) this.box.scrollTop = top;
    else if (height && top + ROW_PX > this.box.scrollTop + height) this.box.scrollTop = top + ROW_PX - height;
    this.render();
    this.pool.get(place)?.setAttribute("aria-selected", true);
    this.box.setAttribute("aria-activedescendant", `row-${place}`);
    this.onChoose(place, isOpened);
  }

  // Moves by a key; whether it was one of the list's.
  key(name) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_PX) - 1);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[name];
    if (step === undefined || !this.rows.length) return false;
    this.choose(Math.min(this.rows.length - 1, Math.max(0, this.at + step)), false);
    return true;
  }
}
