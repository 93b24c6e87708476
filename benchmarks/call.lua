-- The call that wrk repeats. CALL_HEADERS has a "Name: value" on each line; in CALL_BODY the id 0
-- is counted up, because the calls of one session need ids of their own.
local IDS = 1000
local requests, last = {}, 0

function init()
  for name, value in os.getenv("CALL_HEADERS"):gmatch("([^:\n]+): ([^\n]*)") do
    wrk.headers[name] = value
  end
  local body = os.getenv("CALL_BODY")
  for id = 1, IDS do
    requests[id] = wrk.format("POST", nil, nil, (body:gsub('"id":0', '"id":' .. id)))
  end
end

function request()
  last = last % IDS + 1
  return requests[last]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.bytes, e.connect + e.read + e.write + e.status + e.timeout))
end
