// A group with its images side by side, and a row of the list.

const EVENTS = { born: "new", grew: "grew", shrank: "shrank", split_from: "split off" };
const TIERS = ["identical", "verified", "copies"];

function pictureOf(groups, m, words) {
  const box = make("div", { className: "picture" });
  const address = groups.picture(m);
  if (address) {
    const image = make("img", { alt: words, decoding: "async", draggable: false, src: address });
    image.addEventListener("error", () => box.replaceChildren(make("span", { className: "soft" }, "no picture")));
    box.append(image);
  } else {
    box.append(make("span", { className: "soft" }, address === null ? "…" : "no picture"));
  }
  return box;
}

function drawRow(groups, row, g) {
  const { columns } = groups;
  const event = groups.event(g);
  const frees = groups.frees(g);
  const told = [counted(columns.size[g], "image", "images")];
  if (frees) told.push(`copies weigh ${bytesInWords(frees)}`);
  const chips = [
    event && make("span", { className: "chip new" }, EVENTS[event]),
    columns.goes[g] ? make("span", { className: "chip goes" }, "may go") : null,
    ...groups.kindsOf(g).map((kind) => make("span", { className: "chip" }, kind)),
  ];
  row.replaceChildren(
    pictureOf(groups, groups.first[g], ""),
    make(
      "div",
      { className: "words" },
      make("bdi", { className: "name" }, groups.keeperName(g)),
      make("span", { className: "soft" }, told.join(" · ")),
      make("span", { className: "chips" }, ...chips.filter(Boolean)),
    ),
  );
}

function badgesOf(groups, m) {
  const relation = groups.word(groups.members.relation, m);
  const tier = groups.word(groups.members.tier, m);
  const kind = groups.word(groups.members.kind, m);
  const said = { keeper: "Keeper", copy: "Copy", alternate: "Alternate" }[relation];
  const what = groups.members.removable[m] ? "may go" : "stays";
  return make(
    "p",
    { className: "badges" },
    make("span", { className: `badge ${groups.members.removable[m] ? "goes" : relation}` }, `${said}, ${what}`),
    kind && make("span", { className: "chip" }, kind),
    tier && make("span", { className: `chip tier ${tier}` }, `tier ${tier}`),
  );
}

// The measures of its pair, folded away; on the page of one group only.
function measuresOf(lines) {
  if (!lines) return null;
  return make(
    "details",
    {},
    make("summary", {}, "Measures"),
    make("ul", { className: "soft measures" }, ...lines.map((line) => make("li", {}, line))),
  );
}

function cardOf(groups, g, m) {
  const { members } = groups;
  const isKeeper = groups.word(members.relation, m) === "keeper";
  const { name, folder } = partsOf(members.uri[m]);
  const size = `${members.width[m]}×${members.height[m]} ${groups.word(members.format, m)}, ${bytesInWords(members.bytes[m])}`;
  const other = members.compared[m];
  const isListed = other >= 0 && other < groups.columns.listed[g];
  const against = !isListed ? "an image that is not listed" : other ? `image ${other + 1} of this group` : "the keeper";
  return make(
    "li",
    { className: `card member ${members.removable[m] ? "goes" : groups.word(members.relation, m)}` },
    pictureOf(groups, m, name),
    badgesOf(groups, m),
    make("h3", {}, make("bdi", {}, name)),
    make("p", { className: "soft size" }, size),
    make("p", { className: "reason" }, members.reason[m]),
    isKeeper ? null : make("p", { className: "soft" }, `Score ${members.score[m].toFixed(3)} against ${against}`),
    measuresOf(members.measures[m]),
    make("p", { className: "soft path" }, make("bdi", {}, folder || members.uri[m])),
    make("p", { className: "soft id" }, "id ", make("code", {}, members.id[m])),
  );
}

function drawDetail(groups, box, g, goBack) {
  const { columns } = groups;
  const event = groups.event(g);
  const scope = groups.word(columns.scope, g);
  const facts = [
    event && `${EVENTS[event]} ${document.body.dataset.night}`,
    scope && `scope ${scope}`,
    ...TIERS.map((tier, place) => {
      const own = columns.frees[place][g] - (place ? columns.frees[place - 1][g] : 0);
      return own ? `${bytesInWords(own)} in tier ${tier}` : null;
    }),
    columns.goes[g] ? `${bytesInWords(columns.goes[g])} may go now` : "nothing may go now",
  ].filter(Boolean);
  const cards = [];
  for (let m = groups.first[g]; m < groups.first[g + 1]; m += 1) cards.push(cardOf(groups, g, m));
  const hidden = columns.size[g] - columns.listed[g];
  box.replaceChildren(...[
    goBack && make("button", { type: "button", className: "back quiet", onclick: goBack }, "← All groups"),
    make("h2", { id: "detail-title", tabIndex: -1 }, counted(columns.size[g], "image", "images"), " of one picture"),
    make("p", { className: "soft" }, "Group ", make("code", {}, columns.id[g])),
    make("p", { className: "soft" }, facts.join(" · ")),
    make("ol", { className: "members" }, ...cards),
    hidden > 0
      ? make("p", { className: "none" }, `${counted(hidden, "more image is", "more images are")} not listed here.`
          + (goBack ? ` dupelake report --group ${columns.id[g]} lists up to 1,000.` : ""))
      : null,
  ].filter(Boolean));
  box.scrollTop = 0;
}
