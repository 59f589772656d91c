// Starts the page: views, filters, keys, colours.

const groups = new Groups(JSON.parse(byId("data").textContent));
const list = byId("list") && new VirtualList(byId("list"), (row, g) => drawRow(groups, row, g), onChoose);
const detail = byId("detail");
const FILTERS = ["kind", "contains", "scope", "sort"];
let shown = null; // the group in the detail pane
let wait = 0;

function wishes() {
  const chosen = Object.fromEntries(FILTERS.map((id) => [id, byId(id).value]));
  return { ...chosen, search: byId("search").value, changed: byId("changed").checked };
}

function apply(keep = null) {
  const found = groups.chosen(wishes());
  const at = keep === null ? 0 : found.indexOf(keep);
  byId("nothing").hidden = found.length > 0;
  byId("list").hidden = found.length === 0;
  list.show(found, at);
  if (!found.length) show(null);
  let bytes = 0;
  for (const g of found) bytes += groups.frees(g);
  const of = found.length === groups.n ? "" : ` of ${number.format(groups.n)}`;
  byId("status").textContent = found.length
    ? `${number.format(found.length)}${of} ${groups.n === 1 ? "group" : "groups"}; all their copies weigh ${bytesInWords(bytes)}`
    : "No group matches";
}

function show(g) {
  shown = g;
  if (g === null) detail.replaceChildren();
  else drawDetail(groups, detail, g, list ? closeDetail : null);
}

function onChoose(place, isOpened) {
  const g = list.rows[place];
  if (g !== shown) show(g);
  if (isOpened) openDetail();
}

const isNarrow = () => matchMedia("(max-width: 860px)").matches;

function openDetail() {
  document.body.classList.add("opened");
  if (isNarrow()) detail.querySelector(".back")?.focus();
}

function closeDetail() {
  document.body.classList.remove("opened");
  list.box.focus();
  list.later();
}

// The address says what is shown: #overview, #groups, or #group-ID.
function route() {
  const name = location.hash.slice(1);
  const isGroups = name === "groups" || name.startsWith("group-");
  if (!list) {
    show(groups.n ? 0 : null);
    return;
  }
  document.body.classList.toggle("at-groups", isGroups);
  for (const [id, is] of [["to-overview", !isGroups], ["to-groups", isGroups]]) {
    if (is) byId(id).setAttribute("aria-current", "page");
    else byId(id).removeAttribute("aria-current");
  }
  if (!isGroups) return;
  scrollTo(0, 0);
  list.render();
  const g = name.startsWith("group-") ? groups.columns.id.indexOf(name.slice(6)) : -1;
  if (g >= 0) {
    reset();
    list.choose(list.rows.indexOf(g), true);
  }
}

function reset() {
  byId("search").value = "";
  byId("changed").checked = false;
  for (const id of FILTERS) byId(id).selectedIndex = 0;
  apply(shown);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const isTyping = event.target.matches("input[type=search], select");
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    document.body.classList.remove("opened");
    if (!document.body.classList.contains("at-groups")) location.hash = "groups";
    document.body.classList.add("at-groups"); // now, so that the field can take the focus
    byId("search").focus();
    byId("search").select();
  } else if (event.key === "Escape" && document.body.classList.contains("at-groups")) {
    if (event.target.matches("select")) return; // it closes its menu
    if (event.target === byId("search") && event.target.value) return; // the field empties itself
    closeDetail();
  } else if (event.target === list.box) {
    if (event.key === "Enter") {
      openDetail();
      byId("detail-title")?.focus();
    } else if (!list.key(event.key)) return;
    event.preventDefault();
  } else if (event.target === byId("search") && (event.key === "Enter" || event.key === "ArrowDown")) {
    event.preventDefault();
    clearTimeout(wait);
    apply();
    list.box.focus();
  }
}

function setUpColours() {
  const button = byId("theme"), root = document.documentElement;
  const isDark = () => root.dataset.theme === "dark"
    || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  const label = () => {
    button.textContent = isDark() ? "Light colours" : "Dark colours";
  };
  try {
    root.dataset.theme = localStorage.getItem("dupelake-theme") || "";
  } catch {
    // storage may be closed to a page of a file
  }
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("dupelake-theme", root.dataset.theme);
    } catch {
      // the choice then holds until the page is closed
    }
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
}

function setUpStrip() {
  const freeing = groups.chosen({ search: "", kind: "", contains: "", scope: "", changed: false, sort: "frees" });
  const best = freeing.filter((g) => groups.frees(g) > 0).slice(0, 7);
  byId("strip").hidden = best.length === 0;
  byId("strip-list").replaceChildren(...best.map((g) => make(
    "li",
    {},
    make(
      "a",
      { href: `#group-${groups.columns.id[g]}` },
      pictureOf(groups, groups.first[g], ""),
      make("bdi", { className: "name" }, groups.keeperName(g)),
      make("span", { className: "soft" }, `${bytesInWords(groups.frees(g))}, ${counted(groups.columns.size[g], "image", "images")}`),
    ),
  )));
}

function setUpList() {
  byId("kind").append(...groups.kinds.map((kind) => make("option", { value: kind }, kind)));
  byId("scope").append(...groups.scopes.map((scope, code) =>
    make("option", { value: code }, scope === "" ? "none" : scope)));
  byId("scope-label").hidden = groups.scopes.length < 2;
  byId("search").addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(apply, 80);
  });
  for (const id of [...FILTERS, "changed"]) byId(id).addEventListener("change", () => apply());
  byId("reset").addEventListener("click", reset);
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", route);
  apply();
}

setUpColours();
if (list) setUpList();
route();
// The pictures stand behind this script: what was drawn without them is drawn again.
document.addEventListener("DOMContentLoaded", () => {
  groups.ends = true;
  groups.blocks.clear();
  if (list) {
    list.redraw();
    setUpStrip();
  }
  if (shown !== null) show(shown);
});
