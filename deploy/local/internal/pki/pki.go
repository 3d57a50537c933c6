// Package pki makes the certificates of one cluster. Every part uses TLS with client
// certificates, so that other users of the machine cannot call it.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Pair is a certificate and its key as PEM, and the files that hold them.
type Pair struct {
	CertPEM, KeyPEM []byte
	Cert, Key       string
}

// authority signs certificates and writes them to one folder.
type authority struct {
	Pair
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes an authority, or loads the one that an earlier run left in the
// folder. A cluster whose objects are preserved needs the same authority, because the
// objects hold certificates.
func newAuthority(dir, name string) (*authority, error) {
	a := &authority{dir: dir}
	if p, err := load(dir, name); err == nil {
		pair, err := tls.X509KeyPair(p.CertPEM, p.KeyPEM)
		if err != nil {
			return nil, fmt.Errorf("%s is damaged (%w); start without --keep", p.Cert, err)
		}
		key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%s holds an unexpected kind of key; start without --keep", p.Key)
		}
		a.Pair, a.cert, a.key = p, pair.Leaf, key
		return a, nil
	}
	p, err := a.sign(name, &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	})
	a.Pair = p
	return a, err
}

// server makes a certificate for names and addresses. It is also valid for a client,
// which etcd requires of its peers.
func (a *authority) server(name string, hosts ...string) (Pair, error) {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return a.sign(name, t)
}

// client makes a certificate for a user (CN) in groups (O), as the API server
// reads client certificates.
func (a *authority) client(file, user string, groups ...string) (Pair, error) {
	return a.sign(file, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// sign completes the template, signs it and writes NAME.crt and NAME.key. The first
// certificate of an authority is self-signed.
func (a *authority) sign(name string, t *x509.Certificate) (p Pair, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return p, err
	}
	t.NotBefore = time.Now().Add(-time.Minute)
	t.NotAfter = time.Now().AddDate(1, 0, 0)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return p, err
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return p, err
		}
		a.key = key
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return p, err
	}
	p = files(a.dir, name)
	p.CertPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	p.KeyPEM = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	if err = os.WriteFile(p.Cert, p.CertPEM, 0o644); err != nil {
		return p, err
	}
	return p, os.WriteFile(p.Key, p.KeyPEM, 0o600)
}

func files(dir, name string) Pair {
	return Pair{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
}

func load(dir, name string) (p Pair, err error) {
	p = files(dir, name)
	if p.CertPEM, err = os.ReadFile(p.Cert); err != nil {
		return p, err
	}
	p.KeyPEM, err = os.ReadFile(p.Key)
	return p, err
}
