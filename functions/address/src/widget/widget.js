// The page's behaviour; its messages and what may be trusted are told in widget.rs.
"use strict";

(() => {
  const DAUM_TIMEOUT_MS = 5000;
  const TOKEN_TIMEOUT_MS = 10000;
  const PAGE_SIZE = 10;

  const given = document.body.dataset;
  const target = given.origin;
  const embedder = window.opener ?? (window.parent === window ? null : window.parent);
  const at = (id) => document.getElementById(id);
  const say = (text) => { at("status").textContent = text; };
  const post = (message) => embedder.postMessage(message, target);

  let token = null;
  let tokenArrived = () => {};
  let decided = false;
  let byDaum = false;
  let found = { query: "", page: 1 };
  let newest = 0;
  let choice = null;

  // --- What is shown: one of the widget, our search and the chosen address.

  function show(id) {
    for (const one of ["daum", "search", "chosen"]) at(one).hidden = one !== id;
  }

  function offerSearch() {
    decided = true;
    byDaum = false;
    show("search");
    say(given.searchReady);
    at("query").focus();
  }

  function offerDaum() {
    byDaum = true;
    show("daum");
    say(given.daumReady);
  }

  // --- The Daum Postcode widget, where its script loads.

  function loadDaum() {
    const script = document.createElement("script");
    const giveUp = () => { if (!decided) offerSearch(); };
    script.src = given.script;
    script.addEventListener("error", giveUp);
    script.addEventListener("load", () => {
      if (decided) return;
      try {
        startDaum((window.daum ?? window.kakao).Postcode);
      } catch {
        giveUp();
      }
    });
    setTimeout(giveUp, DAUM_TIMEOUT_MS);
    document.head.append(script);
  }

  function startDaum(Postcode) {
    at("daum").hidden = false;
    new Postcode({ oncomplete: takeFromDaum, width: "100%", height: "100%" }).embed(at("daum-frame"), { autoClose: false });
    decided = true;
    offerDaum();
  }

  // What the widget says is checked by the server, and comes back in the form that our own search has.
  async function takeFromDaum(data) {
    const members = Object.fromEntries(Object.entries(data).filter(([, value]) => typeof value === "string"));
    const body = JSON.stringify(members);
    const answer = await ask(given.checking, "normalize", { method: "POST", body, headers: { "content-type": "application/json" } });
    if (answer !== null) choose("daum", answer.address);
  }

  // --- Our own API, with the embedder's token.

  // An error whose words are for the person.
  class Refusal extends Error {}

  function freshToken() {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Refusal(given.unauthenticated)), TOKEN_TIMEOUT_MS);
      tokenArrived = () => {
        clearTimeout(timer);
        resolve();
      };
      post({ type: "ieum.address.token_wanted" });
    });
  }

  function send(path, options) {
    const headers = { authorization: `Bearer ${token}`, "accept-language": document.documentElement.lang, ...options.headers };
    return fetch(new URL(path, window.location.href), { ...options, headers, credentials: "omit", referrerPolicy: "no-referrer" });
  }

  // The answer to the newest question; null when it failed, which was told, or when another was asked meanwhile.
  async function ask(meanwhile, path, options = {}) {
    const turn = ++newest;
    say(meanwhile);
    try {
      if (token === null) await freshToken();
      let response = await send(path, options);
      if (response.status === 401) {
        await freshToken();
        response = await send(path, options);
      }
      const body = await response.json();
      if (!response.ok) throw new Refusal(body.error.details[0]?.message ?? body.error.message);
      return turn === newest ? body : null;
    } catch (error) {
      if (turn === newest) say(error instanceof Refusal ? error.message : given.failed);
      return null;
    }
  }

  async function search(query, page) {
    list({ addresses: [], total: 0 }, query, page);
    const words = new URLSearchParams({ query, page, size: PAGE_SIZE });
    const body = await ask(given.searching, `../addresses?${words}`);
    if (body === null) return;
    list(body, query, page);
    const count = body.total > 0 ? given.found.replace("#", String(body.total)) : given.none;
    say([count, ...body.notices.map((notice) => notice.message)].join(" "));
  }

  function list({ addresses, total, detail }, query, page) {
    found = { query, page };
    at("results").replaceChildren(...addresses.map((address) => row({ ...address, detail })));
    at("pages").hidden = total <= PAGE_SIZE;
    at("previous").disabled = page <= 1;
    at("next").disabled = page * PAGE_SIZE >= total;
  }

  // The button that was pressed may be off at the last page, so the results get the focus.
  async function turnTo(page) {
    await search(found.query, page);
    (at("results").querySelector("button") ?? at("query")).focus();
  }

  function row(address) {
    const [item, button, first, second] = ["li", "button", "span", "span"].map((name) => document.createElement(name));
    const [shown, other] = lines(address);
    button.type = "button";
    first.textContent = shown;
    second.textContent = [other, address.building_name].filter(Boolean).join(" · ");
    second.className = "second";
    button.append(first, second);
    button.addEventListener("click", () => choose("search", address));
    item.append(button);
    return item;
  }

  // The address with its postal code as the person reads it, and in another form.
  function lines(address) {
    const english = document.documentElement.lang === "en" ? address.english_address : undefined;
    const [first, second] = [english, address.road_address, address.lot_address].filter(Boolean);
    return [`[${address.postal_code ?? "-"}] ${first ?? ""}`, second];
  }

  // --- The choice, which goes to the one origin this page was made for.

  function choose(source, address) {
    choice = { source, address };
    at("chosen-address").textContent = lines(address)[0];
    at("detail").value = address.detail ?? "";
    show("chosen");
    say("");
    at("detail").focus();
  }

  at("chosen").addEventListener("submit", (event) => {
    event.preventDefault();
    const { source, address: { detail: _, ...address } } = choice;
    const detail = at("detail").value.trim();
    post({ type: "ieum.address.chosen", source, address: detail ? { ...address, detail } : address });
    say(given.sent);
    if (window.opener) window.close();
  });

  at("again").addEventListener("click", () => (byDaum ? offerDaum() : offerSearch()));
  at("to-search").addEventListener("click", offerSearch);
  at("previous").addEventListener("click", () => turnTo(found.page - 1));
  at("next").addEventListener("click", () => turnTo(found.page + 1));
  at("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search(at("query").value, 1);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || embedder === null) return;
    post({ type: "ieum.address.closed" });
    if (window.opener) window.close();
  });

  window.addEventListener("message", (event) => {
    if (event.origin !== target || event.source !== embedder) return;
    if (event.data?.type !== "ieum.address.token" || typeof event.data.token !== "string") return;
    token = event.data.token;
    tokenArrived();
  });

  if (embedder === null) {
    say(given.alone);
    return;
  }
  say(given.loading);
  post({ type: "ieum.address.ready" });
  loadDaum();
})();
