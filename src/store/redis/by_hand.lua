-- What hands switched off and on again. Of two changes of one name the later one holds.
-- ARGV: for each change the name, when, and "off" or "on".
local call = redis.call
local PLACE = 'sidekey:by_hand'
local is_news = false
for at = 1, #ARGV, 3 do
  local known = call('HGET', PLACE, ARGV[at])
  if not known or tonumber(string.match(known, '^%d+')) < tonumber(ARGV[at + 1]) then
    call('HSET', PLACE, ARGV[at], ARGV[at + 1] .. ' ' .. ARGV[at + 2])
    is_news = true
  end
end
if is_news then
  -- Never one that was there before, also when the server was emptied.
  local time = call('TIME')
  call('SET', 'sidekey:by_hand_version', time[1] .. '.' .. time[2])
end
return 0
