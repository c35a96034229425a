-- Rate limits, decided in order until one refuses, as src/state/limits decides them (GCRA: for each key the moment at
-- which it owes nothing any more). Times are microseconds since 2025, by this server's clock.
--
-- KEYS: for each question the key of its count and, where only what is new counts, that of the pair.
-- ARGV[1]: the time, or "" for now. Behind it, for each question: how, the time one takes to be forgotten, the burst, the
-- amount, and for how long a pair is not new, or "".
-- how: "c" count it if it is allowed, "l" look whether one more would be, "o" count it whatever is allowed; and behind it
-- "r": if this refuses, those after it are not asked, "a": but this one is asked in any case.
-- Answers: for each question that was asked 0 for yes, else the time until it would be yes; -1: never.
local now = tonumber(ARGV[1])
-- By another clock this server's says nothing of when a key is over: it stays for a day.
local spare = 86400000
if not now then
  spare = 1000
  local time = redis.call("TIME")
  now = (tonumber(time[1]) - 1735689600) * 1000000 + tonumber(time[2])
end

local answers = {}
local refused = false
local at = 1

-- As long as it says anything, and a second more.
local function keep(key, value, micros)
  local millis = string.format("%.0f", math.ceil(micros / 1000) + spare)
  redis.call("SET", key, string.format("%.3f", value), "PX", millis)
end

local function decide(key, pair, how, period, burst, amount, lately)
  local known = how == "c" and pair and tonumber(redis.call("GET", pair) or nil)
  if known and known >= now - lately then
    keep(pair, now, lately)
    return 0
  end
  local due = math.max(tonumber(redis.call("GET", key) or nil) or now, now)
  if how == "o" then
    due = due + period * math.min(amount, burst)
    keep(key, due, due - now)
    return 0
  end
  local room = period * (burst - 1)
  local more = period * (amount - 1)
  if more > room then
    return -1
  end
  if due + more - room > now then
    return math.max(math.ceil(due + more - room - now), 1)
  end
  if how == "c" then
    due = due + period + more
    keep(key, due, due - now)
    if pair then
      keep(pair, now, lately)
    end
  end
  return 0
end

for question = 2, #ARGV, 5 do
  local flags = ARGV[question]
  if refused and not string.find(flags, "a", 2, true) then
    break
  end
  local lately = tonumber(ARGV[question + 4])
  local key, pair = KEYS[at], lately and KEYS[at + 1]
  at = at + (lately and 2 or 1)
  local answer = decide(key, pair or nil, string.sub(flags, 1, 1), tonumber(ARGV[question + 1]),
    tonumber(ARGV[question + 2]), tonumber(ARGV[question + 3]), lately)
  answers[#answers + 1] = answer
  if answer ~= 0 and string.find(flags, "r", 2, true) then
    refused = true
  end
end
return answers
