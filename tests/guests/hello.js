// Answers with what it was asked, in JavaScript.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const body = await request.text();
  const path = new URL(request.url).pathname;
  return new Response(`js ${request.method} ${path} ${body}`, { headers: { "x-guest": "js" } });
}
