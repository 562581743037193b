"""The formats of secrets that can be told by themselves: issuers' prefixes, tokens with a structure, private keys.

Each is the expression for the whole secret. Prefixes are as the issuers document them; whether what follows one is a
placeholder, `secrets` decides.
"""

# After a prefix: letters, digits and a few signs.
_WORD = "[A-Za-z0-9]"
_SAFE = r"[A-Za-z0-9_\-]"

PREFIXED = (
    # Models
    rf"sk-{_SAFE}{{20,}}", rf"csk-{_WORD}{{30,}}", rf"AIza{_SAFE}{{30,}}", rf"hf_{_WORD}{{28,}}",
    rf"api_org_{_WORD}{{28,}}",
    rf"gsk_{_WORD}{{30,}}", rf"xai-{_WORD}{{40,}}", rf"pplx-{_WORD}{{30,}}", rf"r8_{_WORD}{{30,}}",
    rf"fw_{_WORD}{{20,}}",
    rf"tgp_v1_{_SAFE}{{30,}}", rf"pcsk_{_SAFE}{{30,}}", rf"lsv2_(?:pt|sk)_{_SAFE}{{30,}}", r"nvapi-[\w\-]{40,}",
    r"ABSK[A-Za-z0-9+/]{60,}=*", r"bedrock-api-key-[A-Za-z0-9+/=]{40,}", rf"jina_{_SAFE}{{30,}}", rf"pa-{_SAFE}{{40,}}",
    rf"tvly-{_SAFE}{{20,}}", rf"fal_{_SAFE}{{30,}}",
    # Clouds
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}", rf"ya29\.{_SAFE}{{20,}}", rf"GOCSPX-{_SAFE}{{20,}}", rf"1//0{_SAFE}{{30,}}",
    r"[A-Za-z0-9_~.\-]{3}[0-9]Q~[A-Za-z0-9_~.\-]{31,34}", r"do[opr]_v1_[a-f0-9]{40,}", r"LTAI[A-Za-z0-9]{12,24}",
    r"AKID[A-Za-z0-9]{28,34}", r"dapi[a-f0-9]{32}", r"dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{60,}",
    r"hv[sbr]\.[\w\-]{20,}",
    r"[A-Za-z0-9]{14}\.atlasv1\.[\w\-]{50,}", r"HRKU-[\w\-]{30,}", r"fo1_[\w\-]{30,}", r"fm[12]r?_[A-Za-z0-9+/=]{80,}",
    r"tskey-[a-z]+-[\w\-]{16,}", r"pul-[a-f0-9]{40}", r"sbp_[a-f0-9]{40}", r"sb_secret_[\w\-]{20,}",
    r"nfp_[A-Za-z0-9]{36,}",
    r"pscale_[a-z]+_[\w=.\-]{30,}", r"vc[pikar]_[A-Za-z0-9]{24,}", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9.]{40,}",
    r"cfut_[\w\-]{30,}", r"v1\.0-[a-f0-9]{24}-[a-f0-9]{120,}", r"(?:AQVN|t1\.)[\w\-]{35,}", r"rnd_[A-Za-z0-9]{28,}",
    # Code, packages, continuous integration
    r"gh[opusr]_[A-Za-z0-9]{30,}", r"github_pat_[A-Za-z0-9_]{30,}", r"gl[a-z]{2,6}-[\w\-]{20,}",
    r"GR1348941[\w\-]{20,}",
    r"npm_[A-Za-z0-9]{30,}", r"pypi-[\w\-]{30,}", r"rubygems_[a-f0-9]{40,}", r"dckr_[po]at_[\w\-]{20,}",
    r"cio[A-Za-z0-9]{32}",
    r"AKCp[A-Za-z0-9]{10,}", r"sq[upa]_[a-f0-9]{40}", r"CCIPAT_[\w\-]{30,}", r"bk[a-z]{2}_[a-f0-9]{40}",
    r"PMAK-[\w\-]{40,}",
    r"ATATT3[\w=\-]{40,}", r"ATCTT3[\w=\-]{40,}", r"ATBB[A-Za-z0-9]{24,}", r"sntr[yu]s_[\w+/=\-]{40,}",
    r"CLOJARS_[a-z0-9]{50,}",
    r"glc_[A-Za-z0-9+/=]{30,}", r"glsa_[A-Za-z0-9_]{30,}", r"NR(?:AK|JS|RA|II)-[A-Za-z0-9]{20,}", r"oy2[a-z0-9]{43}",
    r"phc_[A-Za-z0-9]{36,}", r"phx_[A-Za-z0-9]{36,}", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}", r"ntn_[A-Za-z0-9]{40,}",
    r"secret_[A-Za-z0-9]{40,}", r"fig[dpous]_[\w\-]{36,}", r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}", r"figma?-[\w\-]{40,}",
    # Money and shops
    r"(?:sk|rk|pk)_(?:live|test|prod)_[A-Za-z0-9]{10,}", r"whsec_[A-Za-z0-9+/=]{24,}", r"sq0[a-z]{3}-[\w\-]{20,}",
    r"EAAA[\w\-]{56,}", r"shp(?:at|ca|pa|ss|ua)_[a-fA-F0-9]{30,}", r"rzp_(?:live|test)_[A-Za-z0-9]{14,}",
    r"access-(?:sandbox|development|production)-[a-f0-9\-]{36}", r"FLW(?:PUB|SEC)K[_\-][\w\-]{20,}",
    r"access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}", r"EZ[AT]K[A-Za-z0-9]{50,}",
    r"shippo_(?:live|test)_[a-f0-9]{40}",
    # Messages
    r"xox[abeoprs](?:-[A-Za-z0-9]{2,}){2,}", r"xoxe\.xox[bp]-[\w\-]{40,}", r"xapp-[0-9]-[\w\-]{30,}",
    r"SG\.[\w\-]{16,}\.[\w\-]{16,}",
    r"SK[0-9a-f]{32}", r"key-[0-9a-z]{32}", r"[0-9a-f]{32}-us[0-9]{1,2}",
    r"[MNO][A-Za-z0-9_\-]{23,27}\.[\w\-]{6}\.[\w\-]{27,40}",
    r"[0-9]{8,10}:AA[A-Za-z0-9_\-]{32,34}", r"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}", r"EAA[A-Z][A-Za-z0-9]{60,}",
    r"re_[A-Za-z0-9]{8,}_[A-Za-z0-9]{20,}", r"POST-[\w\-]{30,}", r"IGQV[\w\-]{60,}",
    # Others
    r"AGE-SECRET-KEY-1[A-Z0-9]{50,}", r"ops_eyJ[A-Za-z0-9_\-]{40,}", r"sl\.[A-Za-z0-9_\-]{60,}",
    r"[ps]k\.eyJ[\w\-]{20,}\.[\w\-]{16,}",
    r"CFPAT-[\w\-]{40,}", r"tfp_[\w.=\-]{40,}", r"rdme_[a-z0-9]{60,}", r"aio_[A-Za-z0-9]{28}",
    r"(?:sk|pk)-lf-[a-f0-9\-]{36}",
)  # fmt: skip
JWT = r"\beyJ[A-Za-z0-9_\-]{12,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,3}"
PRIVATE_KEY = (
    r"-----BEGIN[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[A-Za-z0-9+/=\s\\]|[A-Z][A-Za-z\-]{3,12}: [^\n]{1,80}\n)*"
    r"(?:-----END[ A-Z0-9]{0,40}(?:-{0,5}))?"
    r"|PuTTY-User-Key-File-[0-9]: [^\0]{0,400}?Private-Lines: [0-9]+[A-Za-z0-9+/=\s]*"
)
WEBHOOK = (
    r"https://(?:hooks\.slack\.com/(?:services|workflows|triggers)/[\w/\-]{20,}"
    r"|(?:canary\.|ptb\.)?discord(?:app)?\.com/api/webhooks/[0-9]{15,20}/[\w\-]{40,}"
    r"|[\w\-]+\.webhook\.office\.com/webhookb2/[\w@/\-]{60,}"
    r"|hooks\.zapier\.com/hooks/catch/[\w/]{10,})"
)
# Where a database is, with its password: all of it is nobody's business.
CONNECTION = (
    r"(?i)\b(?:postgres(?:ql)?|mysql|mariadb|mongodb|rediss?|amqps?|mssql|sqlserver|oracle|clickhouse|cockroachdb|couchdb|"
    r"cassandra|neo4j|bolt|ldaps?|smtps?|imaps?|nats|kafka|mqtts?|jdbc:[a-z0-9:]+|snowflake|redshift|elastic|memcached)"
    r"(?:\+[a-z0-9_+]+)?://[^\s/:@\"'<>]{0,80}:([^\s/\"'<>]{2,128})@[^\s\"'`<>,;)]{1,200}"
)
# What is before the `@` of an address: user and password, or a token alone.
USERINFO = r"://([A-Za-z0-9_\-]{16,128})(?::x-oauth-basic)?@[A-Za-z0-9]"
USERINFO_PAIR = r"[A-Za-z][A-Za-z0-9+.\-]{1,24}://[^\s/:@\"'<>]{0,80}:([^\s/\"'<>]{2,128})@[A-Za-z0-9\[\-_]"
AUTHORIZATION = (
    r"(?i)\b(?:bearer|basic|authorization[\"']?\s*[:=]\s*[\"']?(?:token|apikey|api-key|key)?)\s+[\"']?"
    r"([A-Za-z0-9._~+/\-]{16,}=*)"
)
SIGNATURE = r"[?&;](?:sig|X-Amz-Signature|X-Goog-Signature|signature)=([A-Za-z0-9%+/=_\-]{32,})"
