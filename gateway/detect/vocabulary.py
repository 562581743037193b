"""The words that say what a number near them is, in the languages of the world: `LATIN` and `ANYWHERE`, by class.

In `LATIN`, `*` stands for any letters and `@` for a blank or nothing. `ANYWHERE` is for scripts in which words need no
boundary, and written as patterns. `other` are words of numbers that are nobody's data: orders, parts, versions.
"""

LATIN: dict[str, str] = {
    "phone": (
        "phone* telephone* telefon* teléfon* téléphon* tel tél tlf tfno mobil* móvil* cell cellular celular* "
        "cellulare fax handy* handynummer rufnummer* hotline whatsapp sms portable gsm msisdn landline puhelin* "
        "ring callback pager voicemail helpline telepon nomor numer@telefonu điện@thoại sđt simu"
    ),
    "speak": (
        "call calling called dial text@me text@us text@him text@her can@text txt reach contact* kontakt* "
        "contacto contatto contattare appelez appeler appelle llame llamar llámame llámanos ligue ligar chiama* "
        "anruf* ruf ruft rufen anrufen erreich* erreichbar joindre bel bellen zadzwoń my@number mon@numéro "
        "meine@nummer mi@número il@mio@numero meu@número mijn@nummer"
    ),
    "ssn": (
        "ssn ssns ss# socsec social@security* social@sec* soc@sec sozialversicherungsnummer@usa seguro@social "
        "numéro@de@sécurité@sociale@américain social@number ssnumber socialsecurity* taxpayer@id* tin"
    ),
    "itin": (
        "itin itins individual@taxpayer* taxpayer@identification*"
    ),
    "card": (
        "card cards creditcard* cardnumber* cc ccn visa mastercard amex american@express maestro discover diners "
        "jcb kreditkarte* karte* kartennummer* tarjeta* carta@di@credito carte@bancaire carte@bleue carte cartão "
        "cartao creditcardnummer debit pan@number"
    ),
    "iban": (
        "iban"
    ),
    "bank": (
        "account* acct* a@c konto* kontonummer* compte* cuenta* conto conta bank* rekening* checking savings "
        "sort@code sortcode* bsb clabe deposit* wire@to beneficiary bankverbindung* iban swift bic cbu rib "
        "girokonto routing"
    ),
    "routing": (
        "routing aba rtn transit@number transit fedwire ach"
    ),
    "passport": (
        "passport* passeport* reisepass* pasaporte* passaporto* passaporte* paszport* paspoort* pass@nr"
    ),
    "national": (
        "national@id* nationalid* identity@card* identity@number* id@number* id@no id@card* idnumber "
        "personal@id* identification@number* identification government@id* resident* citizen* tax@id* taxid* "
        "tax@number* tax@file* steuer* steueridentifikationsnummer* steuernummer* idnr sozialversicherung* "
        "rentenversicherung* rvnr versicherungsnummer* insurance@number* nino national@insurance nhs nir insee "
        "sécu* sécurité@sociale carte@vitale numéro@fiscal dni nie: nie@number mi@nie su@nie nif cif documento* "
        "curp rfc cédula cedula cpf cnpj rg bsn burgerservicenummer* sofinummer codice@fiscale partita@iva pesel "
        "nip regon dowód* personnummer* samordningsnummer* pnr fødselsnummer* fodselsnummer* personnumer* cpr* "
        "henkilötunnus* hetu isikukood* asmens@kodas personas@kods rodné* rodne* číslo@op cnp oib jmbg egn emšo "
        "emso személyi* adóazonosító* taj ahv avs amka afm aadhaar* adhaar* aadhar* uidai pan@number pan@card "
        "pan nric mykad ic@number nik ktp sin social@insurance* tfn medicare ird rut dui nit cuil cuit "
        "tc@kimlik* kimlik* tckn teudat tnin nin hkid my@number cccd cmnd rrn pps ppsn nrn rijksregister* "
        "registre@national numéro@national svnr sozialversicherungsnummer* driver* licence* license* "
        "führerschein* sa@id south@african@id my@id his@id her@id their@id whose@id photo@id state@id voter@id "
        "licence@number"
    ),
    "ip": (
        "ip ips ipv4 ipv6 addr address* host* server* login* client* dns ping* gateway subnet* router* network* "
        "peer adresse* dirección* indirizzo* remote source src dst from"
    ),
    "dob": (
        "dob d@o@b birth* birthdate* birthday* date@of@birth born geboren geb geburt* geburtsdatum né née "
        "naissance nacid* nacimiento* nato nata nascita nasc* nascimento* nascid* geboorte* geboortedatum født "
        "fødsels* född födelse* syntymä* syntynyt urodz* ur narozen* narození született születé* născut* doğum* "
        "rođen* bday"
    ),
    "other": (
        "order orders ordernumber orderid order_id po purchase ticket tickets ticketid sku part parts partno "
        "partnumber serial serials serialnumber item items itemid isbn issn ean upc gtin asin invoice* inv "
        "rechnung* facture* factura* fattura* fatura bestell* case caseno chapter version* ver release build "
        "builds section firmware tracking* room suite shipment* parcel product products productid produkt* "
        "artikel* article articles art ref reference referencia referenz request requests requestid commit "
        "commits rev revision timestamp* epoch unix lat lon latitude longitude student* customer@number "
        "customer@id* lot batch model* port ports pid id@range range score scores doi arxiv oclc pmid patent* "
        "issue issues epsg zone imei imsi iccid vin container voucher* coupon* booking* flight* reservation* "
        "confirmation* transaction* txn job seed hash checksum crc offset population total sum bytes size job@id "
        "post@id message@id thread@id user@id userid bug pr pull page pages vol volume figure fig table eq rfc "
        "grid barcode* license@plate plate policy meter cas catalog* catalogue* kat claim claims docket matter "
        "sample samples test@id numpy python equation formula result random regex pattern phi pi digits decimal "
        "decimals factor factors prime primes integer integers fake invalid typo checksum@fails"
    ),
}
ANYWHERE: dict[str, str] = {
    "phone": (
        "電話|电话|手机|手機|携帯|联系方式|전화|휴대폰|연락처|телефон|тел\\.|моб|звон|номер тел|τηλέφωνο|טלפון|"
        "هاتف|جوال|फोन|मोबाइल|โทร"
    ),
    "speak": (
        "номер|позвони|звоните|联系我|聯絡|連絡|اتصل"
    ),
    "ssn": (
        "社会保障号|社會安全"
    ),
    "card": (
        "卡号|卡號|信用卡|クレジット|カード番号|카드|карт|картой|כרטיס|بطاقة|कार्ड|บัตรเครดิต"
    ),
    "bank": (
        "账号|帳號|账户|口座|銀行|银行|계좌|счет|счёт|р/с|חשבון|حساب|खाता|บัญชี"
    ),
    "passport": (
        "护照|護照|旅券|パスポート|여권|паспорт|דרכון|جواز|पासपोर्ट|διαβατήριο|หนังสือเดินทาง"
    ),
    "national": (
        "身份证|身分證|身份證|マイナンバー|個人番号|주민등록|주민번호|инн|снилс|егн|αφμ|αμκα|תעודת זהות|هوية|"
        "आधार|บัตรประชาชน|เลขประจำตัว|єдрпоу|рнокпп|ідентифікаційн|居留|统一编号|統一編號"
    ),
    "ip": (
        "адрес|地址|アドレス"
    ),
    "dob": (
        "生年月日|出生|誕生日|생년월일|생일|дата рожд|родил|род\\.|г\\.р|народж|γέννησης|γεννήθηκε|תאריך לידה|"
        "תאריך לידת|ميلاد|जन्म|เกิด"
    ),
    "other": (
        "订单|訂單|注文|주문|заказ|версия|артикул|快递|单号|產品|产品|型号|品番"
    ),
}
# Ends of domain names beside those of countries, as far as people have addresses there; local ones too.
DOMAINS = (
    "com org net edu gov mil int arpa info biz name pro aero coop museum jobs mobi travel tel cat asia post xxx "
    "app dev page blog shop store online site website web tech cloud digital agency company group team work "
    "works world life live love email mail link click space host hosting press news media network systems "
    "solutions services service support help guru ninja zone center city town global international academy "
    "school college university education institute training health healthcare clinic hospital dental care doctor "
    "dentist legal law lawyer attorney finance financial bank money cash credit insurance loan loans fund fyi "
    "ventures capital holdings partners consulting management marketing design studio photography photo photos "
    "gallery art graphics video film music audio game games play fun party events event club social community "
    "chat forum wiki review reviews report science engineering energy solar green eco bio farm garden pet pets "
    "vet house home homes apartments properties property realty estate land build builders construction "
    "contractors plumbing tools parts auto car cars bike taxi limo tours vacations holiday flights hotel "
    "restaurant cafe bar pub pizza beer wine coffee kitchen food recipes fashion clothing shoes jewelry watch "
    "style beauty hair salon spa fitness yoga run golf football soccer tennis hockey sport sports gmbh ltd llc "
    "inc srl sarl ltda ag kg limited corp company llp edu plus one top xyz vip win bid icu cyou buzz best "
    "monster quest beauty lol ink kim red blue black pink moda new now today how ai io land codes software "
    "technology computer domains direct directory exchange express supply supplies trade trading market markets "
    "industries enterprises business careers career rent rentals lease sale deals discount gifts gift toys baby "
    "kids family dating date wedding wtf sexy church foundation charity ngo ong berlin hamburg koeln bayern ruhr "
    "saarland nrw wien tirol swiss zuerich amsterdam brussels vlaanderen gent paris bzh alsace corsica london "
    "wales scot irish cymru madrid barcelona eus gal moscow nyc vegas miami boston tokyo osaka kyoto sydney "
    "melbourne africa durban capetown joburg rio lat quebec abudhabi dubai istanbul google apple microsoft "
    "amazon aws bmw audi axa bnpparibas barclays citic siemens sap ibm intel oracle samsung sony toyota local "
    "localhost localdomain internal intranet lan corp home private test example invalid onion domain host server "
    "presidio site"
)
# Words before `at` that are no name: `look at`, `meet at`.
NO_NAMES = (
    "look looking looked located based meet meeting arrive arrived available found find live lives hosted work "
    "works working be was is are were stay staying stop start starts started begin begins running run runs good "
    "great bad me us him her them it one anyone someone people out up down off only not and or"
)
# How the names of months begin.
MONTHS = (
    "jan feb fev fév mar mär mae apr avr abr kwi mai may mei maj mag maa jun jui giu juin haz jul juil lug lip "
    "tem aug ago aoû aou sie ağu sep set wrz eyl oct okt ott out paź eki nov nëm lis kas dec dez déc dic gru ara "
    "gen ene sty lut led úno bře dub kvě čer srp zář říj pro tam hel huh tou kes hei elo syy lok jou янв фев мар "
    "апр мая май июн июл авг сен окт ноя дек ιαν φεβ μαρ απρ μαϊ ιου αυγ σεπ οκτ νοε δεκ"
)
# Values in the place of a password that are none.
NO_SECRETS = (
    "password passwd secret token changeme admin root user username none null true false string required "
    "optional invalid incorrect wrong correct expired reset protected encrypted hashed hidden unknown "
    "default test testing guest postgres mysql redis mongo mongodb rabbitmq elastic localhost pass"
)
