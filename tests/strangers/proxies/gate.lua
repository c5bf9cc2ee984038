-- Asks gatemint about a request: sets txn.gate_status, and txn.gate_user … for those who pass.
local told = {
    ["x-auth-request-user"] = "txn.gate_user",
    ["x-auth-request-preferred-username"] = "txn.gate_name",
    ["x-auth-request-email"] = "txn.gate_email",
    ["x-auth-request-groups"] = "txn.gate_groups",
    ["kubeflow-userid"] = "txn.gate_userid",
}

local function values(headers, name)
    local all = {}
    for i = 0, 64 do
        if headers[name] == nil or headers[name][i] == nil then break end
        all[#all + 1] = headers[name][i]
    end
    return all
end

core.register_action("gate", { "http-req" }, function(txn)
    txn:set_var("txn.gate_status", 503)
    local headers = txn.http:req_get_headers()
    local host = txn.sf:req_hdr("host")
    -- haproxy takes a Host with a path in it, which would become part of what is asked about.
    if not host:match("^[%w%.%-:%[%]]+$") then return txn:set_var("txn.gate_status", 403) end
    local asked = {
        ["x-original-method"] = { txn.sf:method() },
        ["x-original-url"] = { (txn.sf:ssl_fc() == 1 and "https://" or "http://") .. host .. txn.sf:path() },
        ["authorization"] = values(headers, "authorization"),
        ["cookie"] = values(headers, "cookie"),
    }
    for name, all in pairs(asked) do
        if #all == 0 then asked[name] = nil end
    end
    local answer = core.httpclient():get { url = "http://127.0.0.1:9000/auth/verify", headers = asked, timeout = 5000 }
    if answer.status ~= 200 and answer.status ~= 401 and answer.status ~= 403 then return end
    for name, variable in pairs(told) do
        local value = answer.headers[name]
        txn:set_var(variable, value and value[0] or "")
    end
    txn:set_var("txn.gate_status", answer.status)
end)
