"use strict";
const WALL = 24;
const DELAY = 500; // milliseconds between two looks at a projection
const element = (id) => document.getElementById(id);
const client = Math.random().toString(36).slice(2);
let models = [], order = 0, first = 0;
const projections = []; // by model, number of the projection that stands for the seed, or null
const urls = new Map(); // by what they show, object URLs to be released

function say(text) { element("status").textContent = text; }

const complaints = new Map(); // by what failed
function complain(text, about = "page") {
  complaints.set(about, text);
  const shown = [...complaints.values()].filter((words) => words).join("; ");
  element("error").textContent = shown;
  element("error").hidden = shown === "";
}

async function fetched(path, query, options) {
  const address = path + "?" + new URLSearchParams(query);
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the viewer has stopped: start it again");
  }
  if (response.status === 409) throw new DOMException("overtaken", "AbortError");
  if (!response.ok) throw new Error((await response.json()).error);
  return response;
}

function scene(model) {
  const mixed = [...document.querySelectorAll("#mixing input:checked")].map((box) => box.value);
  const query = { model, client };
  for (const id of ["seed", "other", "fraction", "space", "truncation", "scale"]) query[id] = element(id).value;
  if (!models[model].any_scale) query.scale = 1;
  query.mixed = mixed.filter((place) => place < models[model].num_styles).join(",");
  if (projections[model] !== null) query.projection = projections[model];
  return query;
}

async function objectUrl(key, response) {
  const url = URL.createObjectURL(await response.blob());
  if (urls.has(key)) URL.revokeObjectURL(urls.get(key));
  urls.set(key, url);
  return url;
}

const running = new Map(); // by model, the request in flight and whether another must follow
async function draw(model) {
  if (running.has(model)) { running.set(model, true); return; }
  running.set(model, false);
  const start = performance.now();
  try {
    const response = await fetched("/api/image", { ...scene(model), order: ++order });
    const image = document.querySelector(`#pictures [data-model="${model}"] img`);
    image.src = await objectUrl(`image ${model}`, response);
    image.alt = description(model);
    complain("", model);
    say(`drawn in ${Math.round(performance.now() - start)} ms`);
    if (model === Number(element("model").value)) element("save-image").href = image.src;
  } catch (error) {
    if (error.name !== "AbortError") complain(`${models[model].name}: ${error.message}`, model);
  }
  const again = running.get(model);
  running.delete(model);
  if (again) draw(model);
}

function description(model) {
  const start = projections[model] === null ? `seed ${element("seed").value}` : "the projected picture";
  const fraction = Number(element("fraction").value);
  const way = fraction ? `, ${Math.round(100 * fraction)} % of the way to seed ${element("other").value}` : "";
  return `${models[model].name}: ${start}${way}, truncation ${element("truncation").value}`;
}

function drawAll() {
  for (const output of document.querySelectorAll("output")) output.value = element(output.htmlFor.value).value;
  models.forEach((_, model) => draw(model));
  const model = Number(element("model").value);
  element("save-latents").href = "/api/latents?" + new URLSearchParams(scene(model));
  for (const button of document.querySelectorAll("#wall button"))
    button.setAttribute("aria-pressed", String(button.dataset.seed === element("seed").value));
}

async function showWall() {
  const model = Number(element("model").value), start = first;
  const query = { model, client, first: start, count: WALL, truncation: element("truncation").value, order: ++order };
  try {
    complain("", "wall");
    const row = await createImageBitmap(await (await fetched("/api/wall", query)).blob()), edge = row.height;
    element("wall").replaceChildren(...Array.from({ length: WALL }, (_, index) => {
      const button = document.createElement("button"), canvas = document.createElement("canvas");
      canvas.width = canvas.height = edge;
      canvas.getContext("2d").drawImage(row, edge * index, 0, edge, edge, 0, 0, edge, edge);
      button.append(canvas);
      button.type = "button";
      button.dataset.seed = String(start + index);
      button.setAttribute("aria-label", `seed ${start + index}`);
      button.setAttribute("aria-pressed", String(button.dataset.seed === element("seed").value));
      button.addEventListener("click", () => {
        projections.fill(null);
        showProjection();
        element("seed").value = button.dataset.seed;
        drawAll();
      });
      return button;
    }));
  } catch (error) {
    if (error.name !== "AbortError") complain(error.message, "wall");
  }
}

function showProjection() {
  const model = Number(element("model").value), is = projections[model] !== null;
  element("projected").textContent = is ? "Start: the projected picture." : "Start: the seed above.";
  element("unproject").hidden = !is;
}

async function project(file) {
  const model = Number(element("model").value), bar = element("progress");
  complain("", "projection");
  try {
    const options = { method: "POST", body: file, headers: { "X-Viewer": "1" } };
    const { projection } = await (await fetched("/api/projections", { model }, options)).json();
    say("projecting");
    for (;;) {
      const job = await (await fetched("/api/projections", { model, projection })).json();
      if (job.error) throw new Error(job.error);
      bar.max = job.steps;
      bar.value = job.step;
      if (job.psnr !== null) {
        projections[model] = projection;
        showProjection();
        element("fraction").value = 0;
        drawAll();
        element("projected").textContent += ` Its PSNR is ${job.psnr.toFixed(1)} dB.`;
        say("projected");
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, DELAY));
    }
  } catch (error) {
    complain(error.message, "projection");
  }
}

function showModels() {
  element("pictures").replaceChildren(...models.map((model, index) => {
    const figure = document.createElement("figure");
    figure.dataset.model = index;
    const caption = document.createElement("figcaption");
    caption.textContent = model.name + (model.score ? `, ${model.score}` : "");
    const image = document.createElement("img");
    image.alt = "";
    figure.append(image, caption);
    return figure;
  }));
  element("model").replaceChildren(...models.map((model, index) => new Option(model.name, index)));
  const places = Math.max(...models.map((model) => model.num_styles));
  element("mixing").replaceChildren(...(places < 2 ? [] : Array.from({ length: places }, (_, place) => {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.value = place;
    label.append(box, `block ${place + 1}`);
    return label;
  })));
  element("scale").disabled = !models.some((model) => model.any_scale);
}

function chooseModel() {
  element("upload").disabled = !models[Number(element("model").value)].can_project;
  showProjection();
  drawAll();
  showWall();
}

async function start() {
  try {
    models = await (await fetched("/api/models", {})).json();
  } catch (error) {
    complain(error.message);
    return;
  }
  models.forEach(() => projections.push(null));
  showModels();
  element("controls").addEventListener("submit", (event) => event.preventDefault());
  element("controls").addEventListener("input", (event) => {
    if (event.target.id === "upload") return;
    if (event.target.id === "model") { chooseModel(); return; }
    if (event.target.validity.valid) drawAll();
  });
  element("truncation").addEventListener("change", showWall);
  element("random").addEventListener("click", () => {
    element("seed").value = Math.floor(Math.random() * 2 ** 31);
    drawAll();
  });
  element("upload").addEventListener("change", () => { if (element("upload").files.length) project(element("upload").files[0]); });
  element("unproject").addEventListener("click", () => {
    projections[Number(element("model").value)] = null;
    showProjection();
    drawAll();
  });
  element("back").addEventListener("click", () => { first = Math.max(0, first - WALL); showWall(); });
  element("next").addEventListener("click", () => { first += WALL; showWall(); });
  chooseModel();
}

start();
