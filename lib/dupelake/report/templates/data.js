// The groups of the page, their order, filters and pictures.

const PER_BLOCK = 48; // pictures of a script element, as in pictures.py

class Groups {
  constructor(data) {
    this.columns = data.groups;
    this.members = data.members;
    this.n = data.groups.id.length;
    this.first = new Uint32Array(this.n + 1); // the first image of each group
    for (let g = 0; g < this.n; g += 1) this.first[g + 1] = this.first[g] + data.groups.listed[g];
    this.scopes = data.groups.scope.words;
    this.kinds = data.members.kind.words.slice().sort();
    this.holds = this.heldBits();
    this.texts = new Array(this.n); // what a search looks at, made when it is first needed
    this.blocks = new Map();
    this.ends = false; // all of the page is read
  }

  word(column, at) {
    const code = column.codes[at];
    return code < 0 ? null : column.words[code];
  }

  event(g) {
    return this.word(this.columns.event, g);
  }

  // For each group a set of words: kinds, tiers and relations of its images, and "removable".
  heldBits() {
    const { kind, tier, relation, removable } = this.members;
    this.bits = new Map();
    for (const word of [...kind.words, ...tier.words, ...relation.words, "removable"]) {
      if (!this.bits.has(word)) this.bits.set(word, 1 << this.bits.size);
    }
    const bitsOf = (column) => column.words.map((word) => this.bits.get(word));
    const kinds = bitsOf(kind), tiers = bitsOf(tier), relations = bitsOf(relation);
    const goes = this.bits.get("removable");
    const held = new Uint32Array(this.n);
    for (let g = 0; g < this.n; g += 1) {
      let bits = 0;
      for (let m = this.first[g]; m < this.first[g + 1]; m += 1) {
        if (kind.codes[m] >= 0) bits |= kinds[kind.codes[m]];
        if (tier.codes[m] >= 0) bits |= tiers[tier.codes[m]];
        bits |= relations[relation.codes[m]];
        if (removable[m]) bits |= goes;
      }
      held[g] = bits;
    }
    return held;
  }

  kindsOf(g) {
    return this.kinds.filter((kind) => this.holds[g] & this.bits.get(kind));
  }

  frees(g) {
    return this.columns.frees[2][g];
  }

  // The lowest score of its images: how sure the least sure of them is.
  leastScore(g) {
    let least = 1;
    for (let m = this.first[g]; m < this.first[g + 1]; m += 1) least = Math.min(least, this.members.score[m]);
    return least;
  }

  keeperName(g) {
    return partsOf(this.members.uri[this.first[g]]).name;
  }

  text(g) {
    if (this.texts[g] === undefined) {
      const words = [this.columns.id[g]];
      for (let m = this.first[g]; m < this.first[g + 1]; m += 1) {
        const uri = this.members.uri[m];
        words.push(this.members.id[m], uri, this.members.reason[m]);
        if (uri.includes("%")) words.push(partsOf(uri).name);
      }
      this.texts[g] = words.join("\n").toLowerCase();
    }
    return this.texts[g];
  }

  // The groups that fulfil all wishes, in the wanted order.
  chosen({ search, kind, contains, scope, changed, sort }) {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const bits = (kind ? this.bits.get(kind) : 0) | (contains ? this.bits.get(contains) || 0 : 0);
    const impossible = Boolean(contains) && !this.bits.has(contains);
    const found = [];
    for (let g = 0; g < this.n && !impossible; g += 1) {
      if ((this.holds[g] & bits) !== bits) continue;
      if (scope !== "" && this.columns.scope.codes[g] !== Number(scope)) continue;
      if (changed && this.event(g) === null) continue;
      if (words.length && !words.every((word) => this.text(g).includes(word))) continue;
      found.push(g);
    }
    return this.sorted(found, sort);
  }

  sorted(found, sort) {
    if (sort === "frees") return found.sort((a, b) => this.frees(b) - this.frees(a) || a - b);
    if (sort === "score") {
      this.scores ??= Float64Array.from({ length: this.n }, (_, g) => this.leastScore(g));
      return found.sort((a, b) => this.scores[a] - this.scores[b] || a - b);
    }
    if (sort === "name") {
      this.names ??= Array.from({ length: this.n }, (_, g) => this.keeperName(g));
      const collator = new Intl.Collator("en", { numeric: true });
      return found.sort((a, b) => collator.compare(this.names[a], this.names[b]) || a - b);
    }
    return found; // the page lists the groups of most images first
  }

  // The address of the picture of an image; "" where it has none, null while its part of the page is not read yet.
  picture(m) {
    const block = Math.floor(m / PER_BLOCK);
    let lines = this.blocks.get(block);
    if (lines === undefined) {
      const held = byId(`pictures-${block}`);
      const isWhole = held !== null && (this.ends || held.nextElementSibling !== null);
      if (!isWhole && !this.ends) return null;
      lines = held === null ? [] : held.textContent.split("\n");
      if (this.blocks.size > 40) this.blocks.delete(this.blocks.keys().next().value);
      this.blocks.set(block, lines);
    }
    const line = lines[m % PER_BLOCK] || "";
    if (line.startsWith("=")) return this.picture(Number(line.slice(1)));
    return line && `data:image/jpeg;base64,${line}`;
  }
}
