// The flea market in a browser. The token is in this module's memory alone: whoever reloads the page signs in again.

const CATEGORIES = [
  "bicycles", "boats", "books", "cameras", "clothes", "furniture", "garden", "kitchen", "music", "office", "sports",
  "tools", "toys",
];
const PLACES = [
  { name: "Alexanderplatz, Berlin", latitude: 52.5219, longitude: 13.4132 },
  { name: "Potsdam", latitude: 52.3996, longitude: 13.0606 },
  { name: "Hamburg", latitude: 53.5511, longitude: 9.9937 },
  { name: "Leipzig", latitude: 51.3397, longitude: 12.3731 },
  { name: "Cologne", latitude: 50.9375, longitude: 6.9603 },
  { name: "Munich", latitude: 48.1374, longitude: 11.5755 },
];
const euros = new Intl.NumberFormat("en-IE", { style: "currency", currency: "EUR" });
const $ = (id) => document.getElementById(id);

// Who is signed in: { token, user }, or null.
let session = null;
// Where tokens come from.
const tokenUrl = fetch("/page/settings.json").then((response) => response.json()).then((settings) => settings.token_url);
// The last answer of the market, of which a category is a part.
let ads = [];
// The number of the ad that was placed last.
let fresh = null;
// Only the answer to the last question is shown.
let asked = 0;

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// What a gateway or a service says about a refusal, in one line for a person.
async function refusalOf(response) {
  const text = await response.text();
  let said = text;
  try {
    const answer = JSON.parse(text);
    said = answer.error_description ?? answer.detail ?? answer.error ?? answer.title ?? text;
  } catch {
    // It is plain text.
  }
  switch (response.status) {
    case 401: return "You are not signed in any more. Please sign in again.";
    case 403: return `You may not do that: ${said}`;
    case 429: return `That was too much at once. Try again in ${response.headers.get("retry-after") ?? "a few"} seconds.`;
    default: return said || `The market answered ${response.status}.`;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, authorization: `Bearer ${session.token}` };
  const response = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  if (!response.ok) {
    throw new Refused(response.status, await refusalOf(response));
  }
  return response.json();
}

async function signIn(user, password) {
  const url = await tokenUrl;
  const body = new URLSearchParams({ user, password });
  const response = await fetch(url, { method: "POST", credentials: "omit", body }).catch(() => {
    const { origin } = new URL(url);
    throw new Refused(0, `${origin} does not answer. Where its certificate is not trusted yet, open that address once.`);
  });
  const answer = await response.json();
  if (!response.ok) {
    throw new Refused(response.status, `Sign-in failed: ${answer.error_description}.`);
  }
  session = { token: answer.access_token, user: answer.user };
}

function signOut(reason) {
  session = null;
  ads = [];
  $("ads").replaceChildren();
  if ($("new-ad").open) {
    $("new-ad").close();
  }
  show(reason, true);
  turn();
  $("email").focus();
}

// Shows the side of the page that belongs to being signed in, or not.
function turn() {
  $("account").hidden = $("market").hidden = session === null;
  $("welcome").hidden = session !== null;
  if (session !== null) {
    const { name, role } = session.user;
    $("user-name").textContent = $("new-seller").textContent = name;
    $("user-role").textContent = role;
  }
}

function show(message, isBad = false) {
  $("notice").textContent = message ?? "";
  $("notice").hidden = !message;
  $("notice").classList.toggle("bad", isBad);
}

function failed(error) {
  if (error instanceof Refused && error.status === 401) {
    signOut(error.message);
  } else {
    show(error instanceof Refused ? error.message : "The market cannot be reached. Try again in a moment.", true);
  }
}

const place = () => PLACES[$("place").value];

async function look() {
  const question = ++asked;
  const { latitude, longitude } = place();
  const query = new URLSearchParams({ lat: latitude, lon: longitude, radius_km: $("radius").value });
  try {
    const answer = await ask(`/ads?${query}`);
    if (question === asked && session !== null) {
      ads = answer.ads;
      if (answer.sellers_unavailable) {
        show("The sellers cannot be shown at the moment.", true);
      }
      $("hops").textContent = [answer.authenticated_caller, answer.known_to_users_as, "userservice"].join("  →  ");
      $("hops").hidden = !answer.authenticated_caller;
      list();
    }
  } catch (error) {
    failed(error);
  }
}

// The ads of the category, as cards.
function list() {
  const category = $("category").value;
  const wanted = ads.filter((ad) => category === "" || ad.category === category);
  $("ads").replaceChildren(...wanted.map(card));
  $("nothing").hidden = wanted.length > 0;
  $("count").textContent = `${wanted.length} ${wanted.length === 1 ? "thing" : "things"} near ${place().name}`;
}

function card(ad) {
  const item = $("ad").content.firstElementChild.cloneNode(true);
  const set = (selector, text) => { item.querySelector(selector).textContent = text; };
  item.classList.toggle("fresh", ad.id === fresh);
  item.querySelector("use").setAttribute("href", `#i-${ad.category}`);
  set("h3", ad.title);
  set(".price", ad.price_cents === 0 ? "for free" : euros.format(ad.price_cents / 100));
  set(".category", ad.category);
  set(".distance", ad.distance_km < 0.1 ? "right here" : `${ad.distance_km.toFixed(1)} km away`);
  const seller = ad.seller;
  set(".initial", seller ? seller.name[0] : "?");
  set(".name", seller ? seller.name : "seller unknown");
  set(".rating", seller ? `★ ${seller.rating.toFixed(1)}, here since ${seller.member_since}` : "");
  return item;
}

// Keeps a form from being sent twice while its answer is on the way.
async function once(form, work) {
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  try {
    await work();
  } finally {
    button.disabled = false;
  }
}

function tell(id, message) {
  $(id).textContent = message ?? "";
  $(id).hidden = !message;
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  once(event.target, async () => {
    tell("sign-in-error");
    show();
    try {
      await signIn($("email").value, $("password").value);
    } catch (error) {
      tell("sign-in-error", error instanceof Refused ? error.message : "The market cannot be reached.");
      return;
    }
    event.target.reset();
    turn();
    $("main").focus();
    await look();
  });
});

$("sign-out").addEventListener("click", () => signOut());
$("search").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["place", "radius"]) {
  $(id).addEventListener("change", look);
}
$("category").addEventListener("change", list);

$("locate").addEventListener("click", () => {
  navigator.geolocation.getCurrentPosition(({ coords }) => {
    const here = PLACES.findIndex(({ name }) => name === "your position");
    const at = { name: "your position", latitude: coords.latitude, longitude: coords.longitude };
    const index = here < 0 ? PLACES.push(at) - 1 : here;
    PLACES[index] = at;
    if (here < 0) {
      $("place").add(new Option(at.name, index));
    }
    $("place").value = index;
    look();
  }, () => show("Your position is not known; choose a place instead.", true));
});

$("sell").addEventListener("click", () => {
  tell("post-error");
  $("new-place").textContent = place().name;
  $("new-ad").showModal();
});
$("cancel").addEventListener("click", () => $("new-ad").close());

$("post").addEventListener("submit", (event) => {
  event.preventDefault();
  once(event.target, async () => {
    tell("post-error");
    const { latitude, longitude } = place();
    const ad = {
      title: $("title").value,
      category: $("new-category").value,
      price_cents: Math.round(Number($("price").value) * 100),
      latitude,
      longitude,
    };
    try {
      const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(ad) };
      fresh = (await ask("/ads", options)).id;
    } catch (error) {
      if (error instanceof Refused && error.status !== 401) {
        tell("post-error", error.message);
      } else {
        failed(error);
      }
      return;
    }
    event.target.reset();
    $("new-ad").close();
    $("category").value = "";
    show(`Your ad “${ad.title}” is placed.`);
    await look();
  });
});

PLACES.forEach(({ name }, index) => $("place").add(new Option(name, index)));
for (const category of CATEGORIES) {
  $("category").add(new Option(category));
  $("new-category").add(new Option(category));
}
