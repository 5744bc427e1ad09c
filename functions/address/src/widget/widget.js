"use strict";
// Finds an address and hands it to the window that opened this page, which the server named in `data-origin`. Nothing is
// taken from, and nothing is told to, anybody else. Text is put in as text, never as markup.
(() => {
  const element = (id) => document.getElementById(id);
  const { origin, postcode } = document.body.dataset;
  const sentences = element("sentences").dataset;
  const opener = window.opener ?? (window.parent === window ? null : window.parent);
  const say = (sentence) => { element("status").textContent = sentence; };
  const tell = (message) => opener?.postMessage(message, origin);
  let token = null;
  let daum = null;
  let asked = { query: "", page: 0 };
  let chosen = null;

  const ask = async (path, options = {}) => {
    const headers = { authorization: `Bearer ${token}`, "accept-language": document.documentElement.lang };
    const response = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
    const body = await response.json();
    if (response.ok) return body;
    throw new Error(body.error?.details?.[0]?.message ?? body.error?.message ?? sentences.failed);
  };

  const attempt = async (work) => {
    say(sentences.searching);
    try {
      say(await work());
    } catch (error) {
      say(error instanceof TypeError || error instanceof SyntaxError ? sentences.failed : error.message);
    }
  };

  const show = (id) => {
    for (const part of ["daum", "own", "chosen"]) element(part).hidden = part !== id;
  };

  const showOwn = () => {
    show("own");
    element("query").focus();
  };

  const choose = (address) => {
    chosen = address;
    element("address").textContent = `(${address.postal_code ?? "-----"}) ${address.road_address ?? address.lot_address}`;
    element("lot").textContent = address.road_address ? address.lot_address ?? "" : "";
    element("detail").value = address.detail ?? "";
    show("chosen");
    element("address").focus();
    return "";
  };

  const list = (page) => {
    for (const address of page.addresses) {
      const [item, button, lot] = ["li", "button", "small"].map((name) => document.createElement(name));
      button.type = "button";
      button.textContent = `(${address.postal_code ?? "-----"}) ${address.road_address ?? address.lot_address}`;
      lot.textContent = [address.lot_address, address.building_name].filter(Boolean).join(" · ");
      button.append(lot);
      button.addEventListener("click", () => say(choose({ ...address, detail: page.detail })));
      item.append(button);
      element("results").append(item);
    }
    element("more").hidden = page.page * page.size >= page.total;
    return page.notices[0]?.message ?? (page.total === 0 ? sentences.none : sentences.found.replace("#", page.total));
  };

  const search = (query, page) => attempt(async () => {
    const found = await ask(`../addresses?${new URLSearchParams({ query, page })}`);
    if (page === 1) element("results").replaceChildren();
    asked = { query, page };
    return list(found);
  });

  // The widget's own words for an address are checked and unified by the server.
  const take = (data) => attempt(async () => choose((await ask("normalize", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ postcode: data }),
  })).address));

  const loadDaum = () => new Promise((loaded, failed) => {
    const script = document.createElement("script");
    script.src = postcode;
    script.addEventListener("load", () => loaded(window.daum?.Postcode ?? window.kakao?.Postcode));
    script.addEventListener("error", failed);
    setTimeout(failed, 5000);
    document.head.append(script);
  });

  const begin = async () => {
    say("");
    daum = await loadDaum().catch(() => undefined);
    if (!daum) return showOwn();
    show("daum");
    new daum({ oncomplete: take, width: "100%", height: "100%" }).embed(element("embed"), { autoClose: false });
  };

  window.addEventListener("message", (event) => {
    if (event.origin !== origin || event.source !== opener || event.data?.type !== "ieum.token") return;
    const first = token === null;
    token = String(event.data.token);
    if (first) begin();
  });
  element("other").addEventListener("click", showOwn);
  element("back").addEventListener("click", () => (daum && element("results").childElementCount === 0 ? show("daum") : showOwn()));
  element("more").addEventListener("click", () => search(asked.query, asked.page + 1));
  element("search").addEventListener("submit", (event) => {
    event.preventDefault();
    search(element("query").value, 1);
  });
  element("chosen").addEventListener("submit", (event) => {
    event.preventDefault();
    tell({ type: "ieum.address", address: { ...chosen, detail: element("detail").value.trim() || undefined } });
    say(sentences.sent);
  });

  say(opener ? sentences.waiting : sentences.alone);
  tell({ type: "ieum.ready" });
})();
