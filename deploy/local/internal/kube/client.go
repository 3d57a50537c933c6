// Package kube is a minimal Kubernetes client for the supervisor: JSON over HTTPS with
// a client certificate, without linking client-go.
package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Client calls one server.
type Client struct {
	Server string
	http   *http.Client
}

// New makes a client that trusts one authority and shows one certificate.
func New(server string, ca, cert, key []byte) (*Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the authority's certificate is unreadable")
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the client certificate is unreadable: %w", err)
	}
	return &Client{Server: server, http: &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			Proxy:               nil, // everything is on this machine
			TLSClientConfig:     &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}},
			MaxIdleConnsPerHost: 16,
			ForceAttemptHTTP2:   true,
		},
	}}, nil
}

// StatusError is an answer other than 2xx.
type StatusError struct {
	Code int
	Body string
}

func (e *StatusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Code, e.Body) }

// Get reads an object; out may be nil.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, "", nil, out)
}

// Apply creates or updates an object by server-side apply. So a start with the objects
// of an earlier run takes the same steps as a start with an empty cluster.
func (c *Client) Apply(ctx context.Context, path string, object any) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPatch, path+"?fieldManager=gantry-local&force=true", "application/apply-patch+yaml", body, nil)
}

// Merge changes an object by a JSON merge patch.
func (c *Client) Merge(ctx context.Context, path string, patch any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPatch, path, "application/merge-patch+json", body, nil)
}

// strategic changes an object of a built-in kind by a strategic merge patch, which
// merges lists by key.
func (c *Client) strategic(ctx context.Context, path string, patch any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPatch, path, "application/strategic-merge-patch+json", body, nil)
}

func (c *Client) do(ctx context.Context, method, path, kind string, body []byte, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, c.Server+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 300))
		return &StatusError{Code: response.StatusCode, Body: string(bytes.TrimSpace(text))}
	}
	if out == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	return json.NewDecoder(response.Body).Decode(out)
}
