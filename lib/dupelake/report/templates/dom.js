// Elements and words. Texts of the tables are only ever set as text.

const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name in made && name !== "role") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function bytesInWords(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (n >= 1024 && place < units.length - 1) {
    n /= 1024;
    place += 1;
  }
  return `${place ? n.toFixed(1) : n.toFixed(0)} ${units[place]}`;
}

const number = new Intl.NumberFormat("en-US");
const counted = (n, one, many) => `${number.format(n)} ${n === 1 ? one : many}`;

// The last part of a path or URI, and what is before it. A file: URI is shown as the path that it means.
function partsOf(uri) {
  let plain = uri;
  if (uri.startsWith("file:")) {
    try {
      plain = decodeURIComponent(uri.replace(/^file:\/*/, "/"));
    } catch {
      plain = uri; // a stray % sign: shown as it is
    }
  }
  const cut = plain.replace(/\/+$/, "").lastIndexOf("/");
  return { name: plain.slice(cut + 1) || plain, folder: plain.slice(0, cut + 1) };
}
