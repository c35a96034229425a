-- Stores under KEYS[1] the value ARGV[3] for ARGV[4] milliseconds, if what is there is ARGV[2] (ARGV[1] = "1") or nothing
-- is there (ARGV[1] = "0"). Answers 1 if it was so, else 0.
local known = redis.call("GET", KEYS[1])
if ARGV[1] == "1" then
  if known ~= ARGV[2] then
    return 0
  end
elseif known then
  return 0
end
redis.call("SET", KEYS[1], ARGV[3], "PX", ARGV[4])
return 1
