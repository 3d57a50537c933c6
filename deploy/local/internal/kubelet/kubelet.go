// Package kubelet serves the kubelet's port of every simulated node. It invents the
// containers' logs and forwards all other requests (metrics) to KWOK. It answers only
// clients with a certificate of the cluster.
package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"

	"gantry.invalid/local/internal/kube"
	"gantry.invalid/local/internal/pki"
)

// Server answers for all nodes.
type Server struct {
	client *kube.Client
	http   *http.Server
}

// Serve starts to answer on a listener; kwok is the address of KWOK.
func Serve(listener net.Listener, certificates pki.Cluster, client *kube.Client, kwok string, errorLog *log.Logger) (*Server, error) {
	pair, err := tls.X509KeyPair(certificates.Serving.CertPEM, certificates.Serving.KeyPEM)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(certificates.CA.CertPEM)

	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: kwok})
	proxy.ErrorLog = errorLog
	s := &Server{client: client}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.logs)
	mux.Handle("GET /metrics/", proxy)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "a simulated pod has no processes and no network: logs and metrics only", http.StatusNotImplemented)
	})
	s.http = &http.Server{Handler: mux, ErrorLog: errorLog, ReadHeaderTimeout: 10 * time.Second}
	// HTTP/1.1 only, which the API server and metrics-server use with real kubelets
	// too.
	secure := tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientCAs:    clients, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	go func() {
		if err := s.http.Serve(secure); !errors.Is(err, http.ErrServerClosed) {
			errorLog.Print(err)
		}
	}()
	return s, nil
}

// Close ends the server and the log streams.
func (s *Server) Close() { _ = s.http.Close() }

// logs answers like a kubelet's /containerLogs.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	pod, err := s.pod(r.Context(), r.PathValue("namespace"), r.PathValue("pod"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	container := r.PathValue("container")
	run, err := pod.run(container, query.Get("previous") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	opts, err := readOptions(query, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &printer{w: w, opts: opts}
	now := time.Now()
	out.print(opts.cut(run.lines(now)))
	if query.Get("follow") == "true" && query.Get("previous") != "true" {
		s.follow(r.Context(), out, pod, run, len(run.life(now)))
	}
}

// follow prints new lines until the container ends, the pod is gone or the reader
// leaves. It counts lines instead of comparing times, because the times in a pod's
// status are whole seconds.
func (s *Server) follow(ctx context.Context, out *printer, pod pod, run run, shown int) {
	for run.ended.IsZero() && !out.full() {
		out.flush()
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
		current, err := s.pod(ctx, pod.Metadata.Namespace, pod.Metadata.Name)
		if err != nil || current.Metadata.UID != pod.Metadata.UID {
			return
		}
		if run, err = current.runNumber(run.container.Name, run.number); err != nil {
			return
		}
		if lines := run.life(time.Now()); len(lines) > shown {
			out.print(lines[shown:])
			shown = len(lines)
		}
		out.print(run.lastWords())
	}
}

func (s *Server) pod(ctx context.Context, namespace, name string) (p pod, err error) {
	err = s.client.Get(ctx, "/api/v1/namespaces/"+url.PathEscape(namespace)+"/pods/"+url.PathEscape(name), &p)
	if err != nil {
		return p, fmt.Errorf("pod %q not found: %w", name, err)
	}
	return p, nil
}

// options are the options of "kubectl logs".
type options struct {
	tail       int // -1: all
	limit      int64
	since      time.Time
	timestamps bool
}

func readOptions(query url.Values, now time.Time) (o options, err error) {
	o = options{tail: -1, limit: -1, timestamps: query.Get("timestamps") == "true"}
	var failed error
	number := func(name string, use func(int64)) {
		if text := query.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				failed = fmt.Errorf("%s=%q is not a number", name, text)
			}
			use(n)
		}
	}
	number("tailLines", func(n int64) { o.tail = int(n) })
	number("limitBytes", func(n int64) { o.limit = n })
	number("sinceSeconds", func(n int64) { o.since = now.Add(-time.Duration(n) * time.Second) })
	if text := query.Get("sinceTime"); text != "" {
		if o.since, err = time.Parse(time.RFC3339, text); err != nil {
			failed = fmt.Errorf("sinceTime=%q is not a time", text)
		}
	}
	return o, failed
}

// cut returns the lines that the request asks for.
func (o options) cut(lines []line) []line {
	for len(lines) > 0 && lines[0].at.Before(o.since) {
		lines = lines[1:]
	}
	if o.tail >= 0 && len(lines) > o.tail {
		lines = lines[len(lines)-o.tail:]
	}
	return lines
}

// printer writes lines up to the limit in bytes.
type printer struct {
	w    http.ResponseWriter
	opts options
	sent int64
}

func (p *printer) print(lines []line) {
	for _, l := range lines {
		text := l.text + "\n"
		if p.opts.timestamps {
			text = l.at.UTC().Format(time.RFC3339Nano) + " " + text
		}
		if p.opts.limit >= 0 {
			text = text[:max(0, min(int64(len(text)), p.opts.limit-p.sent))]
		}
		n, _ := p.w.Write([]byte(text))
		p.sent += int64(n)
	}
}

func (p *printer) full() bool { return p.opts.limit >= 0 && p.sent >= p.opts.limit }

func (p *printer) flush() {
	if f, ok := p.w.(http.Flusher); ok {
		f.Flush()
	}
}
