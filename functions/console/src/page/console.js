// Fills the page with parts that the server has rendered, and sends what its forms say.
//
// The key is typed once, kept for this tab, and sent with each request to our own origin. A part is HTML of ours in which
// everything is escaped; the policy lets only the one function below make elements of it.
//
// A form says what it does: data-method and data-path, where {name} stands for a field; the other fields are the body, or the
// query with data-in="query". data-confirm is asked first. A field "a.b" is the member b of a; data-null makes it null,
// data-number a number. data-shows names the element that shows the answer.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const given = document.body.dataset;
  const view = at("view"), status = at("status"), dialog = at("confirm");
  const STORE = "ieum.console.key";
  const make = window.trustedTypes
    ? trustedTypes.createPolicy("ieum", { createHTML: (html) => html })
    : { createHTML: (html) => html };
  let key = sessionStorage.getItem(STORE);
  let asked = 0, timer = 0, failures = 0, edited = false;

  const say = (sentence, bad) => {
    status.textContent = sentence;
    status.className = bad ? "bad" : "";
  };

  const ask = (method, path, body) => {
    const headers = { "accept-language": document.documentElement.lang, "x-api-key": key };
    if (body !== undefined) headers["content-type"] = "application/json";
    const text = body === undefined ? undefined : JSON.stringify(body);
    return fetch(path, { method, headers, body: text, cache: "no-store", credentials: "omit" });
  };

  const errorOf = async (answer) => {
    try {
      return (await answer.json()).error ?? {};
    } catch {
      return {};
    }
  };

  // The name of the part and its query, as the address says.
  const place = () => {
    const [name, query] = (location.hash.slice(1) || "overview").split("?");
    return { name: /^[a-z]+$/.test(name) ? name : "overview", query: query ? `?${query}` : "" };
  };

  const show = (html) => {
    const focus = view.contains(document.activeElement) ? document.activeElement.id : "";
    const open = new Map([...view.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
    const scrolled = [...view.querySelectorAll(".wide")].map((one) => one.scrollLeft);
    const parsed = new DOMParser().parseFromString(make.createHTML(html), "text/html");
    view.replaceChildren(...parsed.body.childNodes);
    for (const [id, was] of open) if (at(id)) at(id).open = was;
    view.querySelectorAll(".wide").forEach((one, place) => { one.scrollLeft = scrolled[place] ?? 0; });
    if (focus && at(focus)) at(focus).focus({ preventScroll: true });
    edited = false;
  };

  const later = (seconds) => {
    clearTimeout(timer);
    if (seconds) timer = setTimeout(() => load(true), seconds * 1000);
  };

  // Shows the part that the address names. Quietly, when nobody asked for it: then nothing that is under way is disturbed.
  const load = async (quiet) => {
    if (!key) return enter("");
    if (quiet && (document.hidden || dialog.open || edited)) return later(document.hidden ? 0 : 10);
    const mine = ++asked;
    const { name, query } = place();
    for (const link of at("nav").querySelectorAll("a")) {
      const current = link.hash === `#${name}` || link.hash === `#${name}s`;
      current ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    const path = name === "sandbox" ? "/_sandbox/panel" : `/v1/console/${name}`;
    let answer, html;
    try {
      answer = await ask("GET", path + query);
      if (answer.ok) html = await answer.text();
    } catch {
      answer = null;
    }
    if (mine !== asked) return;
    if (!answer) {
      say(given.offline, true);
      return later(Math.min(60, 5 * 2 ** failures++));
    }
    if (answer.status === 401) return enter(given.unknownKey);
    if (!answer.ok) {
      const error = await errorOf(answer);
      if (answer.status === 403) view.replaceChildren();
      say(answer.status === 403 ? given.forbidden : error.message ?? given.failed, true);
      return later(answer.status < 500 ? 0 : Math.min(60, 5 * 2 ** failures++));
    }
    if (failures || (quiet && status.className)) say("");
    failures = 0;
    show(html);
    if (!quiet) view.focus({ preventScroll: true });
    document.dispatchEvent(new CustomEvent("ieum:shown", { detail: { name, ask } }));
    later(Number(view.querySelector("[data-refresh]")?.dataset.refresh ?? 0));
  };

  // Asks for the key.
  const enter = (sentence) => {
    later(0);
    key = null;
    sessionStorage.removeItem(STORE);
    view.replaceChildren();
    at("nav").hidden = at("leave").hidden = true;
    at("enter").hidden = false;
    say(sentence, Boolean(sentence));
    at("key").focus();
  };

  at("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    key = at("key").value.trim();
    at("key").value = "";
    // What cannot stand in a header is no key.
    if (!/^[\x21-\x7e]+$/.test(key)) return enter(given.unknownKey);
    sessionStorage.setItem(STORE, key);
    at("enter").hidden = true;
    at("nav").hidden = at("leave").hidden = false;
    say("");
    load(false);
  });
  at("leave").addEventListener("click", () => enter(""));
  addEventListener("hashchange", () => {
    say("");
    if (key) load(false);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && key) load(true); });
  at("language").addEventListener("click", (event) => { event.currentTarget.hash = location.hash; });
  // What was typed is not to be lost; a box that is ticked acts at once.
  view.addEventListener("input", (event) => { edited ||= event.target.type !== "checkbox"; });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    view.focus();
  });

  // Whether the person wants this.
  const confirmed = (sentence, call) => new Promise((resolve) => {
    if (!sentence) return resolve(true);
    at("confirm-what").textContent = sentence;
    at("confirm-call").textContent = call;
    const done = (wanted) => {
      at("confirm-yes").onclick = at("confirm-no").onclick = dialog.oncancel = null;
      dialog.close();
      resolve(wanted);
    };
    at("confirm-yes").onclick = () => done(true);
    at("confirm-no").onclick = () => done(false);
    dialog.oncancel = () => done(false);
    dialog.showModal();
  });

  // What a form says: its path, and its body where it has one.
  const wishOf = (form, button) => {
    const method = button?.dataset.method ?? form.dataset.method;
    let path = form.dataset.path;
    const rest = new URLSearchParams(), body = {};
    for (const field of form.elements) {
      if (!field.name || field.disabled) continue;
      if (path.includes(`{${field.name}}`)) {
        path = path.replace(`{${field.name}}`, encodeURIComponent(field.value.trim()));
        continue;
      }
      rest.append(field.name, field.value);
      const dot = field.name.indexOf(".");
      const value = field.dataset.null ? null : field.dataset.number ? Number(field.value) : field.value;
      if (dot < 0) body[field.name] = value;
      else (body[field.name.slice(0, dot)] ??= {})[field.name.slice(dot + 1)] = value;
    }
    if (form.dataset.in === "query") return { method, path: `${path}?${rest}` };
    return { method, path, body: method === "GET" || !Object.keys(body).length ? undefined : body };
  };

  // Says beside each field what is wrong with it; the first one gets the focus.
  const mark = (form, details) => {
    for (const old of form.querySelectorAll(".mistake")) old.remove();
    for (const field of form.elements) field.removeAttribute("aria-invalid");
    let first = null;
    for (const detail of details ?? []) {
      const of = (field) => field.name === detail.field || field.name.endsWith(`.${detail.field}`);
      const field = [...form.elements].find((one) => one.type !== "hidden" && of(one));
      if (!field) continue;
      const mistake = document.createElement("p");
      mistake.className = "mistake";
      mistake.id = `mistake-${field.id}`;
      mistake.textContent = detail.expected ? `${detail.message} (${detail.expected})` : detail.message;
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-errormessage", mistake.id);
      form.append(mistake);
      first ??= field;
    }
    first?.focus();
  };

  const act = async (form, button) => {
    const { method, path, body } = wishOf(form, button);
    const call = `${method} ${path}${body === undefined ? "" : `\n${JSON.stringify(body, null, 2)}`}`;
    const sentence = button?.dataset.method ? button.dataset.confirm : form.dataset.confirm;
    if (!await confirmed(sentence, call)) return;
    const buttons = [...form.querySelectorAll("button")];
    buttons.forEach((one) => { one.disabled = true; });
    try {
      const answer = await ask(method, path, body);
      if (answer.status === 401) return enter(given.unknownKey);
      if (!answer.ok) {
        const error = await errorOf(answer);
        const trace = error.traceId ? ` (${given.trace} ${error.traceId})` : "";
        say(`${error.message ?? given.failed}${trace}`, true);
        buttons.forEach((one) => { one.disabled = false; });
        return mark(form, error.details);
      }
      mark(form, []);
      say(given.sent);
      if (!form.dataset.shows) {
        edited = false;
        await load(true);
        return (at(button?.id) ?? view).focus({ preventScroll: true });
      }
      at(form.dataset.shows).textContent = JSON.stringify(await answer.json(), null, 2);
    } catch {
      say(given.offline, true);
    } finally {
      buttons.forEach((one) => { one.disabled = false; });
    }
  };

  view.addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    if (form.dataset.view) {
      const wanted = `#${form.dataset.view}?${new URLSearchParams(new FormData(form))}`;
      edited = false;
      if (location.hash === wanted) load(false);
      else location.hash = wanted;
    } else if (form.dataset.path) act(form, event.submitter);
  });

  if (key) {
    at("nav").hidden = at("leave").hidden = false;
    load(false);
  } else enter("");
})();
