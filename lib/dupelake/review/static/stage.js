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

  const frame = (element, box) => {
    element.hidden = !box || !$("boxes").checked;
    if (!box) return;
    const names = ["left", "top", "width", "height"];
    names.forEach((name, i) => { element.style[name] = `${(100 * box[i]).toFixed(2)}%`; });
  };

  const draw = () => {
    if (!card) return;
    const isSide = view === "side" || !card.right;
    const area = $("stage");
    area.dataset.view = isSide ? "side" : view;
    area.querySelector(".layers-frame").hidden = isSide;
    area.querySelector(".pair-frame").hidden = !isSide;
    const width = area.clientWidth;
    const height = Math.max(180, Math.min(window.innerHeight * 0.62, window.innerHeight - 330));
    const placed = card.placed || {};
    if (isSide) {
      sides.right.hidden = !card.right;
      for (const side of ["left", "right"]) fit(sides[side], card[side], (width - 12) / (card.right ? 2 : 1), height);
      frame(sides.left.querySelector(".box"), placed.left_box);
      frame(sides.right.querySelector(".box"), placed.right_box);
      return;
    }
    const size = fit(stack, card.left, width, height);
    const map = mapOf();
    const image = over.firstElementChild;
    image.style.transform = transformOf(map, ...size);
    layers.style.clipPath = view === "difference" ? outlineOf(map) : "none";
    frame(stack.querySelector(".box"), placed.left_box);
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
