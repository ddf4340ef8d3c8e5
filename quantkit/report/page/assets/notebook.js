(own => {
  "use strict";
  /**
   * Beside a plot's frame in a notebook: what the frame asks goes to the kernel that drew it, and the answer back, over
   * the message channel that Jupyter Server gives every page of its own. The frame itself reaches nothing but this.
   */
  const {plot, kernel, target} = own, IDLE = 30_000;
  const known = window.quantkitPlots ||= {};
  known[plot]?.();  // a notebook that draws an output anew runs its script again
  let socket = null, comm = "", session = "", timer = 0;
  const waiting = new Map();

  const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, "0")).join("");

  /** Return where the notebook's server is, or nothing where there is none: VS Code, a file, a page of others. */
  function server() {
    const config = document.getElementById("jupyter-config-data");
    try {
      return config ? JSON.parse(config.textContent).baseUrl : document.body.dataset.baseUrl;
    } catch {
      return undefined;
    }
  }

  function send(type, content) {
    const header = {msg_id: fresh(), msg_type: type, session, username: "", date: new Date().toISOString(), version: "5.3"};
    const message = {header, parent_header: {}, metadata: {}, content, channel: "shell", buffers: []};
    socket.send(JSON.stringify(message));
  }

  function question(asked) { send("comm_msg", {comm_id: comm, data: asked}); }

  function open(base) {
    session = fresh();
    comm = fresh();
    const address = new URL(`${base}api/kernels/${encodeURIComponent(kernel)}/channels?session_id=${session}`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    socket = new WebSocket(address);
    socket.onopen = () => {
      send("comm_open", {comm_id: comm, target_name: target, data: {}});
      for (const {asked} of waiting.values()) question(asked);
    };
    socket.onmessage = ({data}) => {
      if (typeof data !== "string" || !data.includes(comm)) return;
      const {header, content} = JSON.parse(data);
      if (content.comm_id !== comm) return;
      if (header.msg_type === "comm_msg") reply(content.data.ask, content.data);
      if (header.msg_type === "comm_close") close();
    };
    socket.onclose = close;
  }

  /** End the channel; who still waits, waits in vain. */
  function close() {
    clearTimeout(timer);
    if (!socket) return;
    socket.onclose = null;
    socket.close();
    socket = null;
    for (const ask of [...waiting.keys()]) reply(ask, {gone: true});
  }

  function reply(ask, answer) {
    const {frame} = waiting.get(ask) || {};
    waiting.delete(ask);
    // What the kernel prints comes over the channel too: it is not kept open for nothing.
    clearTimeout(timer);
    timer = setTimeout(() => { if (!waiting.size) close(); }, IDLE);
    frame?.postMessage({quantkit: plot, ask, rows: answer.rows, gone: Boolean(answer.gone)}, "*");
  }

  function hear({source: frame, data}) {
    if (data?.quantkit !== plot || typeof data.ask !== "number" || frame === window) return;
    const base = server();
    if (!base) {
      frame.postMessage({quantkit: plot, ask: data.ask, gone: true}, "*");
      return;
    }
    frame.postMessage({quantkit: plot, ask: data.ask, heard: true}, "*");
    const {ask, place, from, to, buckets} = data, asked = {plot, ask, place, from, to, buckets};
    waiting.set(ask, {frame, asked});
    if (!socket) open(base);
    else if (socket.readyState === WebSocket.OPEN) question(asked);
  }

  addEventListener("message", hear);
  known[plot] = () => { removeEventListener("message", hear); close(); };
})
