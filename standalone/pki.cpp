#include "standalone/pki.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>

#include "lib/base/digest.h"
#include "lib/base/json.h"
#include "lib/base/random.h"
#include "lib/base/yaml.h"

namespace tango::standalone {
namespace {

constexpr int kClockSkewSeconds = 3600;
constexpr std::size_t kTokenKeyBytes = 32;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using KeyHandle = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using CertHandle = std::unique_ptr<X509, Deleter<X509_free>>;
using BioHandle = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

Error pki_error(const char* what) {
  char text[256] = "";
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  return make_error(Code::kInternal, "PkiFailed", std::string("Cannot ") + what + ": " + text);
}

std::string contents(BIO* bio) {
  char* data = nullptr;
  long n = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<std::size_t>(n));
}

bool add_extension(X509* cert, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX ctx;
  X509V3_set_ctx_nodb(&ctx);
  X509V3_set_ctx(&ctx, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, &ctx, nid, value.c_str());
  if (e == nullptr) return false;
  bool good = X509_add_ext(cert, e, -1) == 1;
  X509_EXTENSION_free(e);
  return good;
}

Result<KeyPair> make_certificate(const CertificateRequest& q, X509* issuer, EVP_PKEY* issuer_key) {
  KeyHandle key(EVP_EC_gen("P-256"));
  CertHandle cert(X509_new());
  if (!key || !cert) return pki_error("make a key");
  X509_set_version(cert.get(), 2);
  std::string serial = random_bytes(system_random(), 16);
  serial[0] = static_cast<char>(serial[0] & 0x7F);
  BIGNUM* n = BN_bin2bn(reinterpret_cast<const unsigned char*>(serial.data()), 16, nullptr);
  BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert.get()));
  BN_free(n);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), -kClockSkewSeconds);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), static_cast<long>(q.days) * 86400L);
  X509_set_pubkey(cert.get(), key.get());
  X509_NAME* name = X509_get_subject_name(cert.get());
  auto add_name = [&](const char* field, const std::string& v) {
    if (!v.empty())
      X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(v.c_str()), -1, -1, 0);
  };
  add_name("O", q.organization);
  add_name("CN", q.common_name);
  const bool ca = issuer == nullptr;
  X509* signer = ca ? cert.get() : issuer;
  X509_set_issuer_name(cert.get(), X509_get_subject_name(signer));
  bool good = add_extension(cert.get(), signer, NID_basic_constraints,
                            ca ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
              add_extension(cert.get(), signer, NID_key_usage,
                            ca ? "critical,keyCertSign,cRLSign,digitalSignature"
                               : "critical,digitalSignature") &&
              add_extension(cert.get(), signer, NID_subject_key_identifier, "hash");
  if (!ca)
    good = good && add_extension(cert.get(), signer, NID_ext_key_usage,
                                 q.server ? "serverAuth" : "clientAuth");
  std::string names;
  for (const std::string& d : q.dns_names) names += (names.empty() ? "DNS:" : ",DNS:") + d;
  for (const std::string& i : q.ip_addresses) names += (names.empty() ? "IP:" : ",IP:") + i;
  if (!names.empty()) good = good && add_extension(cert.get(), signer, NID_subject_alt_name, names);
  if (!good || X509_sign(cert.get(), ca ? key.get() : issuer_key, EVP_sha256()) == 0)
    return pki_error("sign a certificate");
  BioHandle cert_bio(BIO_new(BIO_s_mem())), key_bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(cert_bio.get(), cert.get()) != 1 ||
      PEM_write_bio_PrivateKey(key_bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
          1) {
    return pki_error("write a certificate");
  }
  return KeyPair{contents(cert_bio.get()), Secret<std::string>(contents(key_bio.get()))};
}

Result<KeyPair> load_pair(const fs::path& dir, const std::string& name) {
  TRY_ASSIGN(std::string cert, read_file(dir / (name + ".crt")));
  TRY_ASSIGN(std::string key, read_file(dir / (name + ".key")));
  return KeyPair{std::move(cert), Secret<std::string>(std::move(key))};
}
Status save_pair(const fs::path& dir, const std::string& name, const KeyPair& pair) {
  // The certificate comes last: a pair counts as present only when it is there.
  TRY(write_file_atomic(dir / (name + ".key"), pair.key_pem.reveal(), 0600));
  return write_file_atomic(dir / (name + ".crt"), pair.cert_pem, 0644);
}

}  // namespace

Result<KeyPair> make_ca(const std::string& common_name) {
  CertificateRequest q;
  q.common_name = common_name;
  return make_certificate(q, nullptr, nullptr);
}

Result<KeyPair> issue_certificate(const KeyPair& ca, const CertificateRequest& request) {
  BioHandle cert_bio(BIO_new_mem_buf(ca.cert_pem.data(), static_cast<int>(ca.cert_pem.size())));
  const std::string& key_pem = ca.key_pem.reveal();
  BioHandle key_bio(BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())));
  CertHandle cert(PEM_read_bio_X509(cert_bio.get(), nullptr, nullptr, nullptr));
  KeyHandle key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
  if (!cert || !key) return pki_error("read the CA");
  return make_certificate(request, cert.get(), key.get());
}

Result<Pki> load_or_make_pki(const fs::path& dir, const std::string& address) {
  TRY(make_dirs(dir, 0700));
  auto ca = load_pair(dir, "ca");
  if (!ca.ok()) {
    ca = make_ca("tango-ca");
    if (!ca.ok()) return std::move(ca).error();
    TRY(save_pair(dir, "ca", *ca));
  }
  Pki out;
  out.ca_pem = ca->cert_pem;
  CertificateRequest server{"tango-apiserver",
                            "",
                            {"localhost", "kubernetes", "kubernetes.default.svc"},
                            {"127.0.0.1", "::1"},
                            true};
  if (address != "127.0.0.1" && address != "::1" && address != "0.0.0.0")
    server.ip_addresses.push_back(address);
  for (auto& [name, request, slot] :
       {std::tuple{std::string("server"), server, &out.server},
        std::tuple{std::string("admin"),
                   CertificateRequest{"tango-admin", "system:masters", {}, {}, false},
                   &out.admin}}) {
    auto pair = load_pair(dir, name);
    if (!pair.ok()) {
      pair = issue_certificate(*ca, request);
      if (!pair.ok()) return std::move(pair).error();
      TRY(save_pair(dir, name, *pair));
    }
    *slot = std::move(pair).value();
  }
  auto key = read_file(dir / "token.key");
  if (!key.ok() || key->size() < kTokenKeyBytes) {
    std::string fresh = random_bytes(system_random(), kTokenKeyBytes);
    TRY(write_file_atomic(dir / "token.key", fresh, 0600));
    out.token_key = Secret<std::string>(std::move(fresh));
  } else {
    out.token_key = Secret<std::string>(std::move(key).value());
  }
  return out;
}

std::string make_kubeconfig(const std::string& server, const std::string& ca_pem,
                            const KeyPair& client) {
  Json config = {
      {"apiVersion", "v1"},
      {"kind", "Config"},
      {"clusters",
       Json::array({{{"name", "tango"},
                     {"cluster",
                      {{"server", server}, {"certificate-authority-data", to_base64(ca_pem)}}}}})},
      {"users", Json::array({{{"name", "tango-admin"},
                              {"user",
                               {{"client-certificate-data", to_base64(client.cert_pem)},
                                {"client-key-data", to_base64(client.key_pem.reveal())}}}}})},
      {"contexts",
       Json::array(
           {{{"name", "tango"},
             {"context",
              {{"cluster", "tango"}, {"user", "tango-admin"}, {"namespace", "default"}}}}})},
      {"current-context", "tango"}};
  return to_yaml(config);
}

}  // namespace tango::standalone
