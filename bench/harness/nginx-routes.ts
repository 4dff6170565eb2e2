/** What the nginx of a row does with a request before it goes on, as a careful operator would write it. */

export interface NginxRoute {
  /** Of this nginx, in the table. */
  readonly name: string;
  /** Behind `location`. */
  readonly location: string;
  /** Lines of the http block. */
  readonly http?: readonly string[];
  /** Lines of the location, beside method, rate and `proxy_pass`. */
  readonly lines: readonly string[];
  readonly needsLua?: true;
}

const deviceHeader = ['proxy_set_header X-Device $ssl_client_s_dn;'];

/** Telemetry as it comes. */
export const telemetryRoute: NginxRoute = {
  name: 'nginx',
  location: '= /api/v1/telemetry',
  lines: deviceHeader,
};

/** The same, and Lua looks at the body. */
export const checkedTelemetryRoute: NginxRoute = {
  name: 'nginx + Lua',
  location: '= /api/v1/telemetry',
  http: luaInit(luaSchema()),
  lines: [
    `access_by_lua_block {
      ngx.req.read_body()
      local body = ngx.req.get_body_data()
      if body == nil or not fits(body) then return ngx.exit(422) end
    }`,
    ...deviceHeader,
  ],
  needsLua: true,
};

/** The id is behind the common name; of a certificate without one nobody is told. */
const deviceMap =
  "map $ssl_client_s_dn $device { default ''; '~^CN=(?<id>[a-z0-9]+)(?:,|$)' $id; }";

/** What Sallyport tells a backend, but for the certificate itself, which nginx has in another form only. */
const identityHeaders = [
  'proxy_set_header X-Client-DN $ssl_client_s_dn;',
  'proxy_set_header X-Device-Id $device;',
  'proxy_set_header X-Forwarded-For $remote_addr;',
  'proxy_set_header X-Forwarded-Proto https;',
  'proxy_set_header X-Forwarded-Host $host;',
];

/** Everything below `/backend/`. */
export const proxiedRoute: NginxRoute = {
  name: 'nginx',
  location: '/backend/',
  http: [deviceMap],
  lines: identityHeaders,
};

export interface HmacKey {
  readonly device: string;
  /** On the wire. */
  readonly keyId: string;
  /** Hex. */
  readonly key: string;
}

/** The same for requests that are signed, whose nonces come once, and whose body fits. */
export function signedRoute(keys: readonly HmacKey[]): NginxRoute {
  return {
    name: 'nginx + Lua',
    location: '/backend/',
    http: [deviceMap, 'lua_shared_dict nonces 128m;', ...luaInit(luaSchema() + luaHmac(keys))],
    lines: [`access_by_lua_block { ${luaSignedCheck} }`, ...identityHeaders],
    needsLua: true,
  };
}

function luaInit(code: string): string[] {
  return [`init_by_lua_block { ${code} }`];
}

/** The schema of the other side by hand: types, bounds, what is required, and nothing else. */
function luaSchema(): string {
  return `
    local cjson = require "cjson.safe"
    cjson.decode_max_depth(8)
    local function between(value, low, high)
      return type(value) == "number" and value >= low and value <= high
    end
    local checks = {
      temperature = function(v) return between(v, -40, 125) end,
      humidity = function(v) return between(v, 0, 100) end,
      battery = function(v) return type(v) == "number" end,
      sequence = function(v) return type(v) == "number" and v >= 0 and v % 1 == 0 end,
      at = function(v) return type(v) == "string" and #v <= 40 end,
    }
    function fits(body)
      local reading = cjson.decode(body)
      if type(reading) ~= "table" or reading.temperature == nil or reading.at == nil then
        return false
      end
      for key, value in pairs(reading) do
        local check = checks[key]
        if check == nil or not check(value) then return false end
      end
      return true
    end
  `;
}

/**
 * libcrypto by FFI, as lua-resty-string and lua-resty-hmac call it, but with contexts that are made once: of each key one,
 * which has its pads hashed already. Lua has no constant-time comparison, so that is libcrypto's, too.
 */
function luaHmac(keys: readonly HmacKey[]): string {
  const entries = keys.map(
    ({ device, keyId, key }) => `["${keyId}"] = { device = "${device}", key = "${key}" },`,
  );
  return `
    local ffi = require "ffi"
    ffi.cdef[[
      typedef struct evp_md_st EVP_MD;
      typedef struct evp_md_ctx_st EVP_MD_CTX;
      typedef struct hmac_ctx_st HMAC_CTX;
      EVP_MD *EVP_MD_fetch(void *library, const char *name, const char *properties);
      EVP_MD_CTX *EVP_MD_CTX_new(void);
      int EVP_DigestInit_ex(EVP_MD_CTX *ctx, const EVP_MD *md, void *engine);
      int EVP_DigestUpdate(EVP_MD_CTX *ctx, const char *data, size_t bytes);
      int EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *md, unsigned int *bytes);
      HMAC_CTX *HMAC_CTX_new(void);
      int HMAC_Init_ex(HMAC_CTX *ctx, const char *key, int bytes, const EVP_MD *md, void *engine);
      int HMAC_Update(HMAC_CTX *ctx, const char *data, size_t bytes);
      int HMAC_Final(HMAC_CTX *ctx, unsigned char *md, unsigned int *bytes);
      int CRYPTO_memcmp(const char *a, const char *b, size_t bytes);
      unsigned char *ngx_hex_dump(unsigned char *to, const unsigned char *from, size_t bytes);
    ]]
    local C = ffi.C
    local sha256 = C.EVP_MD_fetch(nil, "SHA256", nil)
    local digest_ctx = C.EVP_MD_CTX_new()
    local raw = ffi.new("unsigned char[32]")
    local hex = ffi.new("unsigned char[64]")
    local keys = { ${entries.join('\n')} }
    for _, entry in pairs(keys) do
      local secret = entry.key:gsub("..", function(two) return string.char(tonumber(two, 16)) end)
      entry.key = nil
      entry.ctx = C.HMAC_CTX_new()
      if C.HMAC_Init_ex(entry.ctx, secret, #secret, sha256, nil) ~= 1 then error("HMAC") end
    end
    local function hex_of_raw()
      C.ngx_hex_dump(hex, raw, 32)
      return ffi.string(hex, 64)
    end
    function sha256_hex(text)
      C.EVP_DigestInit_ex(digest_ctx, sha256, nil)
      C.EVP_DigestUpdate(digest_ctx, text, #text)
      C.EVP_DigestFinal_ex(digest_ctx, raw, nil)
      return hex_of_raw()
    end
    function key_of(id) return keys[id] end
    function signature_holds(entry, text, signature)
      -- Without a key: the one that it has.
      C.HMAC_Init_ex(entry.ctx, nil, 0, nil, nil)
      C.HMAC_Update(entry.ctx, text, #text)
      C.HMAC_Final(entry.ctx, raw, nil)
      return #signature == 64 and C.CRYPTO_memcmp(hex_of_raw(), signature, 64) == 0
    end
  `;
}

/**
 * As docs/signatures.md says. `safe_add` and not `add`, which would forget nonces that are still good when the dictionary
 * is full.
 */
const luaSignedCheck = `
  local var = ngx.var
  local signature, at = var.http_x_iot_signature, var.http_x_iot_timestamp
  local nonce, id = var.http_x_iot_nonce, var.http_x_iot_key_id
  if not (signature and at and nonce and id) then return ngx.exit(401) end
  if #nonce < 16 or #nonce > 64 or not ngx.re.find(nonce, "^[A-Za-z0-9_-]+$", "jo") then
    return ngx.exit(401)
  end
  local seconds = tonumber(at)
  if seconds == nil or math.abs(ngx.time() - seconds) > 60 then return ngx.exit(401) end
  local key = key_of(id)
  if key == nil or key.device ~= var.device then return ngx.exit(401) end
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if body == nil then return ngx.exit(422) end
  local text = table.concat({
    "SALLYPORT-HMAC-SHA256", var.request_method, var.uri, var.args or "", at, nonce, id,
    sha256_hex(body),
  }, "\\n")
  if not signature_holds(key, text, signature) then return ngx.exit(401) end
  if not ngx.shared.nonces:safe_add(id .. "/" .. nonce, true, 121) then return ngx.exit(401) end
  if not fits(body) then return ngx.exit(422) end
`;
