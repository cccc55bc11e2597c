-- What all replicas together used of an account, or nothing while one of them may hold what it has not written.
-- ARGV: the account, after how many ms without a sign that is so. Returns since when it is counted, the price of what ended
-- solved, how much ended of which nobody knows the price, the dearest solve, the price of what runs, and how many submits are
-- on their way or uncertain.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local owner = ARGV[1]
local longest = call('ZRANGE', 'sidekey:runs', 0, 0, 'WITHSCORES')[2]
if longest and now - tonumber(longest) > tonumber(ARGV[2]) then return {} end
if call('EXISTS', 'sidekey:salt') == 0 or call('EXISTS', 'sidekey:restoring') == 1 then return {} end

local place = 'sidekey:spent:' .. owner
call('HSETNX', place, 'born', time[1] .. '.' .. time[2])
local counted = call('HMGET', place, 'born', 'settled', 'lost', 'dearest')
local dearest, running, unknown = tonumber(counted[4] or 0), 0, 0
for _, member in ipairs(call('ZRANGE', 'sidekey:slots:' .. owner, 0, -1)) do
  local task = string.sub(member, 1, 1) == 't' and call('GET', 'sidekey:task:' .. string.sub(member, 2))
  local price = task and cjson.decode(task).price_micro_usd
  if price and price ~= cjson.null then
    running = running + price
    dearest = math.max(dearest, price)
  else
    unknown = unknown + 1
  end
end
local function text(number) return string.format('%d', tonumber(number or 0)) end
return { counted[1], text(counted[2]), text(counted[3]), text(dearest), text(running), text(unknown) }
