// The console's own script: small conveniences; every page works without it.
(() => {
  "use strict";

  const busy = document.getElementById("busy");

  // A form sends once: a second click while the answer is on its way does nothing.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.hasAttribute("hx-post")) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
    setTimeout(() => { if (form.dataset.sent) busy.textContent = busy.dataset.loading; }, 500);
  });

  // A part that could not be renewed stays as it was, and the page says that it may be old.
  for (const fault of ["htmx:error", "htmx:response:error"]) {
    document.addEventListener(fault, () => { busy.textContent = busy.dataset.failed; });
  }
  document.addEventListener("htmx:after:request", () => { busy.textContent = ""; });

  addEventListener("pageshow", () => {
    busy.textContent = "";
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
    for (const form of document.querySelectorAll("form[data-webauthn]")) form.elements.credential.value = "";
  });

  // A form to be signed asks the authenticator first, and is sent with its answer (WebAuthn level 2).
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
  const text = (raw) => btoa(String.fromCharCode(...new Uint8Array(raw))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const known = (all) => (all ?? []).map((one) => ({ ...one, id: bytes(one.id) }));
  const authenticate = async ({ way, ...asked }) => {
    const publicKey = { ...asked, challenge: bytes(asked.challenge), allowCredentials: known(asked.allowCredentials), excludeCredentials: known(asked.excludeCredentials) };
    if (way === "create") publicKey.user = { ...asked.user, id: bytes(asked.user.id) };
    const made = await navigator.credentials[way]({ publicKey });
    const response = { clientDataJSON: text(made.response.clientDataJSON) };
    if (way === "create") {
      response.attestationObject = text(made.response.attestationObject);
      response.transports = made.response.getTransports?.() ?? [];
    } else {
      response.authenticatorData = text(made.response.authenticatorData);
      response.signature = text(made.response.signature);
    }
    return { id: made.id, rawId: text(made.rawId), type: made.type, response };
  };
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.webauthn || form.elements.credential.value) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (form.dataset.asking) return;
    form.dataset.asking = "1";
    const status = form.querySelector("[data-failed]");
    status.textContent = "";
    try {
      form.elements.credential.value = JSON.stringify(await authenticate(JSON.parse(form.dataset.webauthn)));
      form.requestSubmit();
    } catch (error) {
      status.textContent = `${status.dataset.failed} (${error.name})`;
    } finally {
      delete form.dataset.asking;
    }
  }, true);

  // What is disabled stays reachable by keyboard, says why, and does nothing.
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-off], [aria-disabled='true']")) event.preventDefault();
  });

  // The account card closes on Escape and on a click elsewhere.
  const account = document.querySelector("details.account");
  if (account) {
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") account.open = false; });
    document.addEventListener("click", (event) => { if (!account.contains(event.target)) account.open = false; });
  }

  // Relative times and countdowns move on: <time datetime> with a .relative inside.
  const units = (seconds) => {
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min` + (whole < 600 && whole % 60 ? ` ${whole % 60} s` : "");
    if (whole < 86400) return `${Math.floor(whole / 3600)} h` + (Math.floor(whole % 3600 / 60) ? ` ${Math.floor(whole % 3600 / 60)} min` : "");
    return `${Math.floor(whole / 86400)} d` + (Math.floor(whole % 86400 / 3600) ? ` ${Math.floor(whole % 86400 / 3600)} h` : "");
  };
  const offset = Number(document.body.dataset.now || 0) * 1000 - Date.now();
  const tick = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const place = time.querySelector(".relative");
      if (!place) continue;
      const apart = (Date.parse(time.dateTime) - Date.now() - offset) / 1000;
      place.textContent = Math.abs(apart) < 1 ? "(now)" : apart < 0 ? `(${units(-apart)} ago)` : `(in ${units(apart)})`;
    }
  };
  if (document.body.dataset.now) setInterval(tick, 1000);

  // The live table keeps its newest rows, and says when the gate ended the stream or it was lost.
  const live = document.getElementById("live");
  if (live) {
    live.addEventListener("htmx:sse:after:message", () => {
      while (live.rows.length > Number(live.dataset.most)) live.deleteRow(-1);
    });
    const end = document.getElementById("live-end");
    live.addEventListener("end", ({ detail }) => { end.textContent = `${end.dataset.text} (${JSON.parse(detail.data).detail})`; });
    live.addEventListener("htmx:sse:error", ({ detail: { status, connection } }) => {
      // What the gate refuses it refuses again; only a limit passes by itself.
      const refused = status >= 400 && status < 500 && status !== 429;
      if (refused) connection.config.reconnect = false;
      end.textContent = refused ? end.textContent || end.dataset.text : end.dataset.lost;
    });
    // A connection may die without a word; the gate says something at least every data-silent / 2 seconds.
    let open = null, heard = Date.now();
    const hear = () => { heard = Date.now(); };
    live.addEventListener("htmx:sse:after:connection", ({ detail }) => { end.textContent = ""; open = detail.connection; hear(); });
    for (const word of ["htmx:sse:after:message", "beat"]) live.addEventListener(word, hear);
    document.addEventListener("visibilitychange", hear);
    const listen = () => {
      if (!open?.reader || document.hidden || Date.now() - heard < 1000 * Number(live.dataset.silent)) return;
      end.textContent = end.dataset.lost;
      open.reader.cancel();  // the stream's own loop then connects again, from the last row that came
      hear();
    };
    setInterval(listen, 1000);
  }

  // A part that renews itself: only while it is seen, and not while somebody reads on or stands in it.
  for (const { id, dataset } of document.querySelectorAll("[data-refresh]")) {
    setInterval(() => {
      const part = document.getElementById(id);
      if (!part?.dataset.refresh) return;
      const busy = part.querySelector("details[open]") || part.contains(document.activeElement);
      if (document.visibilityState === "visible" && !busy) part.dispatchEvent(new Event("refresh"));
    }, 1000 * Math.max(1, Number(dataset.refresh)));
  }

  // Keys of the inbox, the approval page and an incident that waits; #keys-on turns them off, for good on this browser.
  const keys = document.getElementById("keys");
  if (keys) {
    const on = document.getElementById("keys-on");
    on.checked = localStorage.getItem("keys") !== "off";
    on.addEventListener("change", () => localStorage.setItem("keys", on.checked ? "on" : "off"));
    const rows = () => [...document.querySelectorAll("[data-row] > summary")];
    const chosen = () => {
      const all = document.querySelectorAll("[data-row]");
      return document.activeElement.closest("article")?.querySelector("[data-row]") ?? (all.length === 1 ? all[0] : null);
    };
    const step = (by) => {
      const all = rows();
      const at = all.findIndex((one) => one.closest("article").contains(document.activeElement));
      all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)]?.focus();
    };
    const decide = (field) => {
      const here = document.getElementById(field);
      if (here) here.focus();
      else if (chosen()) location.assign(`${chosen().dataset.row}#${field}`);
    };
    const acts = {
      j: () => step(1), k: () => step(-1), a: () => decide("approve-note"), d: () => decide("deny-reason"),
      "?": () => { keys.open = true; keys.querySelector("summary").focus(); },
    };
    document.addEventListener("keydown", (event) => {
      const field = event.target.closest("input, textarea, select, [contenteditable]");
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || field || !on.checked) return;
      if (Object.hasOwn(acts, event.key)) { event.preventDefault(); acts[event.key](); }
    });
    if (["#approve-note", "#deny-reason"].includes(location.hash)) document.getElementById(location.hash.slice(1))?.focus();
  }
})();
