-- The end of `changes.lua`: what there is to do is done.

-- Since when this replica may have changes that are not here. It relays none of them within a second.
if ARGV[6] == '1' then call('ZADD', 'sidekey:runs', now, run) end
local results, at = { 'done' }, 7
while ARGV[at] do
  local count = tonumber(ARGV[at + 1])
  results[#results + 1] = change[ARGV[at]](unpack(ARGV, at + 2, at + 1 + count))
  at = at + 2 + count
end
-- Lives as long as anybody could ask whether it was carried out, and what came of it.
if number ~= '' then call('SET', APPLIED, number .. ' ' .. table.concat(results, ' ', 2), 'EX', 86400) end
return results
