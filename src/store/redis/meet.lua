-- Replicas meet a few times a second, and one of them leads.
-- ARGV: the run, for how many ms it leads from now on, then accounts whose taken slots it wants to know.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run = ARGV[1]
local leader = call('GET', 'sidekey:leader')
local leads = not leader or leader == run
if leads then call('SET', 'sidekey:leader', run, 'PX', ARGV[2]) end
local used = {}
for at = 3, #ARGV do
  used[#used + 1] = call('ZCOUNT', 'sidekey:slots:' .. ARGV[at], '(' .. now, '+inf')
end
return { leads and 1 or 0, now, used, call('EXISTS', 'sidekey:parked_orphans') }
