"use strict";
/* The pictures of one pair: side by side, or the right one laid on the left one by the map of their alignment. */

const stage = (() => {
  const $ = (id) => document.getElementById(id);
  const stack = $("stack");
  const layers = stack.querySelector(".layers");
  const over = stack.querySelector(".over");
  const sides = { left: $("left-pic"), right: $("right-pic") };
  let card = null;
  let view = "side";
  let isHeld = false;

  const placeholder = (shown) => {
    const text = document.createElement("p");
    text.className = "no-picture";
    text.textContent = shown.content_id === null ? "This image is not there" : "No thumbnail";
    return text;
  };

  /* An image that shows its thumbnail at once, and the full picture when it has come. */
  const imageOf = (shown, pictures, label) => {
    if (shown.size_px === null) return placeholder(shown);
    const image = new Image();
    image.alt = `${label}: ${shown.name}`;
    image.decoding = "async";
    image.draggable = false;
    pictures.thumbnail(shown).then((url) => {
      if (url && !image.dataset.full) image.src = url;
    });
    pictures.full(shown).then((full) => {
      if (!full) return;
      const [width, height] = shown.size_px;
      const isAlike = Math.abs((full.width * height) / (full.height * width) - 1) < 0.02;
      if (!isAlike) return; // the browser turned it otherwise than the alignment did
      image.dataset.full = "yes";
      image.src = full.url;
    });
    return image;
  };

  const sizeOf = (shown) => (shown && shown.size_px) || [4, 3];

  const fit = (element, shown, width, height) => {
    const [w, h] = sizeOf(shown);
    const scale = Math.min(width / w, height / h);
    element.style.width = `${Math.round(w * scale)}px`;
    element.style.height = `${Math.round(h * scale)}px`;
    return [Math.round(w * scale), Math.round(h * scale)];
  };

  const project = (m, x, y) => {
    const w = m[6] * x + m[7] * y + m[8];
    return [(m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w, w];
  };

  const WHOLE = [1, 0, 0, 0, 1, 0, 0, 0, 1];
  const mapOf = () => (card.placed && card.placed.map) || WHOLE;

  /* The homography in fractions, as a matrix of CSS for an element of this size. */
  const transformOf = (m, width, height) => {
    const h = [m[0], (m[1] * width) / height, m[2] * width, (m[3] * height) / width, m[4], m[5] * height,
      m[6] / width, m[7] / height, m[8]];
    return `matrix3d(${[h[0], h[3], 0, h[6], h[1], h[4], 0, h[7], 0, 0, 1, 0, h[2], h[5], 0, h[8]].join(",")})`;
  };

  /* The part of the left picture that the right one covers. */
  const outlineOf = (m) => {
    const corners = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => project(m, x, y));
    if (corners.some((corner) => corner[2] <= 0)) return "none";
    return `polygon(${corners.map(([x, y]) => `${(100 * x).toFixed(2)}% ${(100 * y).toFixed(2)}%`).join(",")})`;
  };

  const shape = (name, values, className) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    element.setAttribute("class", className);
    return element;
  };

  /* Frames of what differs; a dashed line around what the other picture shows, if that is not all. */
  const mark = (element, boxes, toHere) => {
    const shapes = [];
    if ($("boxes").checked) {
      for (const line of ["rim", "line"]) {
        for (const [x, y, width, height] of boxes || []) shapes.push(shape("rect", { x, y, width, height }, line));
      }
      const corners = toHere ? [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => project(toHere, x, y)) : [];
      const isPart = corners.some(([x, y]) => x > 0.02 && x < 0.98 || y > 0.02 && y < 0.98);
      if (isPart && corners.every((corner) => corner[2] > 0)) {
        const points = corners.map(([x, y]) => `${x.toFixed(4)},${y.toFixed(4)}`).join(" ");
        shapes.push(shape("polygon", { points }, "rim"), shape("polygon", { points }, "line dashed"));
      }
    }
    element.querySelector(".marks").replaceChildren(...shapes);
  };

  const inverse = (m) => {
    const [a, b, c, d, e, f, g, h, i] = m;
    return [e * i - f * h, c * h - b * i, b * f - c * e, f * g - d * i, a * i - c * g, c * d - a * f, d * h - e * g,
      b * g - a * h, a * e - b * d].map((value) => value / (a * (e * i - f * h) - b * (d * i - f * g)
        + c * (d * h - e * g)));
  };

  const draw = () => {
    if (!card) return;
    const isSide = view === "side" || !card.right;
    const area = $("stage");
    area.dataset.view = isSide ? "side" : view;
    area.querySelector(".layers-frame").hidden = isSide;
    area.querySelector(".pair-frame").hidden = !isSide;
    const width = area.clientWidth;
    const height = Math.max(200, window.innerHeight - 395); // so that names and verdicts stay in sight
    const placed = card.placed || {};
    if (isSide) {
      sides.right.hidden = !card.right;
      for (const side of ["left", "right"]) fit(sides[side], card[side], (width - 12) / (card.right ? 2 : 1), height);
      mark(sides.left, placed.left_boxes, placed.map);
      mark(sides.right, placed.right_boxes, placed.map && inverse(placed.map));
      return;
    }
    const size = fit(stack, card.left, width, height);
    const map = mapOf();
    const image = over.firstElementChild;
    image.style.transform = transformOf(map, ...size);
    layers.style.clipPath = view === "difference" ? outlineOf(map) : "none";
    mark(stack, placed.left_boxes, null);
    const isOver = view !== "flicker" || isHeld;
    over.hidden = !isOver;
    const at = Number($("slide").value);
    over.style.clipPath = view === "slider" ? `inset(0 0 0 ${at}%)` : "none";
    $("slit").hidden = view !== "slider";
    $("slit").style.left = `${at}%`;
    $("showing").textContent = view === "flicker" ? (isHeld ? "Right" : "Left") : "";
    stack.querySelector(".under").classList.toggle("gone", view === "flicker" && isHeld);
  };

  const describe = () => {
    const isLaid = view !== "side" && card && card.right;
    $("hold").hidden = !(isLaid && view === "flicker");
    $("slide-row").hidden = !(isLaid && view === "slider");
    const notes = { difference: "Bright is where the two differ." };
    const note = isLaid ? notes[view] || "" : "";
    const isMapped = card && card.placed && card.placed.map;
    const unmapped = "The two could not be aligned: they lie on each other as they are.";
    $("laid").textContent = isLaid && card.placed && !isMapped ? unmapped : note;
  };

  const show = (next, pictures) => {
    card = next;
    isHeld = false;
    for (const side of ["left", "right"]) {
      const shown = card[side];
      const label = side === "left" ? "Left picture" : "Right picture";
      sides[side].querySelector(".under").replaceChildren(...(shown ? [imageOf(shown, pictures, label)] : []));
    }
    stack.querySelector(".under").replaceChildren(imageOf(card.left, pictures, "Left picture"));
    over.replaceChildren(...(card.right ? [imageOf(card.right, pictures, "Right picture, laid on the left one")] : []));
    describe();
    draw();
  };

  const setView = (name) => {
    view = name;
    isHeld = false;
    for (const button of document.querySelectorAll("[data-view][aria-pressed]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === name));
    }
    describe();
    draw();
  };

  const hold = (isDown) => {
    if (isDown === isHeld || !card || !card.right) return;
    if (isDown && view !== "flicker") setView("flicker");
    isHeld = isDown;
    draw();
  };

  const slideTo = (value) => {
    $("slide").value = String(Math.min(100, Math.max(0, value)));
    draw();
  };

  const slideUnder = (event) => {
    const area = stack.getBoundingClientRect();
    slideTo((100 * (event.clientX - area.left)) / area.width);
  };
  stack.addEventListener("pointerdown", (event) => {
    if (view === "slider") {
      stack.setPointerCapture(event.pointerId);
      slideUnder(event);
    } else if (view === "flicker") {
      hold(true);
    }
  });
  stack.addEventListener("pointermove", (event) => {
    if (view === "slider" && event.buttons) slideUnder(event);
  });
  for (const name of ["pointerdown", "pointerup", "pointercancel", "pointerleave"]) {
    $("hold").addEventListener(name, () => hold(name === "pointerdown"));
    if (name !== "pointerdown") stack.addEventListener(name, () => hold(false));
  }
  for (const name of ["keydown", "keyup"]) {
    $("hold").addEventListener(name, (event) => {
      if (event.key === " " || event.key === "Enter") {
        event.preventDefault();
        hold(name === "keydown");
      }
    });
  }
  $("hold").addEventListener("contextmenu", (event) => event.preventDefault());
  $("slide").addEventListener("input", draw);
  $("boxes").addEventListener("change", draw);
  window.addEventListener("resize", draw);
  window.addEventListener("blur", () => hold(false));

  return {
    show, setView, hold, refresh: () => { describe(); draw(); },
    slideBy: (step) => slideTo(Number($("slide").value) + step), view: () => view,
  };
})();
