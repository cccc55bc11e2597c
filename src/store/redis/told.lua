-- Of an alert that is due at several replicas one tells. What is told lies here while it holds at any of them.
-- ARGV: for how many ms it lies without a sign, how many alerts hold and were told, those, then for each that is due its name
-- and after how many ms it is told again while it lasts, blank where it is not. Returns 1 for each that is to be told.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lies, held = ARGV[1], tonumber(ARGV[2])
local function told(name) return 'sidekey:told:' .. name end
for at = 3, 2 + held do
  if call('PEXPIRE', told(ARGV[at]), lies) == 0 then call('SET', told(ARGV[at]), now, 'PX', lies) end
end
local ours = {}
for at = 3 + held, #ARGV, 2 do
  local place, every = told(ARGV[at]), tonumber(ARGV[at + 1])
  local before = tonumber(call('GET', place))
  -- Others' time comes a little sooner or later.
  local is_ours = not before or (every and now - before >= every - 60000)
  if is_ours then call('SET', place, now, 'PX', lies) else call('PEXPIRE', place, lies) end
  ours[#ours + 1] = is_ours and 1 or 0
end
return ours
