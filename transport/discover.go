package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// Discovery shows a node's public servers to NATS's own tools: one micro
// service per node, all of a cluster under one name, each public server an
// endpoint of it, so that `nats micro ls`, `info` and `stats` list them. It
// begins with [Discover] and ends with Drain or with its Conn.
//
// An answer that would be larger than the broker takes leaves endpoints out,
// the last ones by name, and has their number in its metadata under
// "civitas.omitted".
type Discovery struct {
	conn     Conn
	subjects Subjects
	identity micro.ServiceIdentity
	started  time.Time
	log      *Service // counts and logs, for it serves too
	subs     []Subscription

	mu        sync.Mutex
	endpoints map[string]*Service // guarded by mu
}

// DiscoveryOptions say which node it is.
type DiscoveryOptions struct {
	// ID tells the services of one name apart: the node's incarnation.
	ID string
	// Version is the program's. What is no semantic version is shown as 0.0.0,
	// and as it is in the metadata under "release".
	Version string
	// Metadata is shown as it is. Default none.
	Metadata map[string]string
	// Logger takes what has no caller to be told to; default slog.Default().
	Logger *slog.Logger
}

// omittedKey is where an answer's metadata has how many endpoints are not in it.
const omittedKey = "civitas.omitted"

// micro refuses other versions when it reads them.
var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// Discover begins to answer for a node without endpoints. It takes three
// subscriptions, however many endpoints there come to be; they are sure to be
// known only after a Flush of the Conn.
func Discover(conn Conn, s Subjects, o DiscoveryOptions) (*Discovery, error) {
	d := &Discovery{
		conn: conn, subjects: s, started: time.Now().UTC(), log: newService(conn, o.Logger),
		endpoints: make(map[string]*Service),
		identity: micro.ServiceIdentity{
			Name: s.DiscoveryName(), ID: o.ID, Version: o.Version, Metadata: map[string]string{},
		},
	}
	maps.Copy(d.identity.Metadata, o.Metadata)
	if v := strings.TrimPrefix(o.Version, "v"); semantic.MatchString(v) {
		d.identity.Version = v
	} else {
		d.identity.Version = "0.0.0"
		d.identity.Metadata["release"] = o.Version
	}
	for _, subject := range s.Discovery(o.ID) {
		sub, err := conn.Subscribe(subject, d.answer)
		if err != nil {
			ctx, cancel := context.WithCancel(context.Background())
			cancel() // nothing was delivered that would be worth a wait
			return nil, errors.Join(fmt.Errorf("serve discovery: %w", err), d.Drain(ctx))
		}
		d.subs = append(d.subs, sub)
	}
	return d, nil
}

// Add shows a public server, or shows it with another Service.
func (d *Discovery) Add(name string, public *Service) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endpoints[name] = public
}

// Remove hides a server, if it is still shown with that Service.
func (d *Discovery) Remove(name string, public *Service) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.endpoints[name] == public {
		delete(d.endpoints, name)
	}
}

// Drain ends the subscriptions; see [Subscription].
func (d *Discovery) Drain(ctx context.Context) error {
	var errs []error
	for _, s := range d.subs {
		errs = append(errs, s.Drain(ctx))
	}
	return errors.Join(errs...)
}

// answer is called by three goroutines.
func (d *Discovery) answer(m Msg) {
	if m.Reply == "" {
		return
	}
	var data []byte
	var err error
	switch discoveryVerb(m.Subject) {
	case "PING":
		data, err = json.Marshal(micro.Ping{ServiceIdentity: d.identity, Type: micro.PingResponseType})
	case "INFO":
		data, err = fitting(d, d.info, d.endpointInfo)
	case "STATS":
		data, err = fitting(d, d.stats, d.endpointStats)
	default:
		return
	}
	if err == nil {
		err = d.conn.Publish(Msg{Subject: m.Reply, Data: data})
	}
	if err != nil {
		d.log.warn("discovery not answered", "subject", m.Subject, "error", err)
	}
}

func (d *Discovery) info(id micro.ServiceIdentity, endpoints []micro.EndpointInfo) any {
	return micro.Info{
		ServiceIdentity: id, Type: micro.InfoResponseType, Endpoints: endpoints,
		Description: "servers of a Civitas node",
	}
}

func (d *Discovery) endpointInfo(name string, _ *Service) micro.EndpointInfo {
	return micro.EndpointInfo{Name: name, Subject: d.subjects.Public(name), Metadata: map[string]string{}}
}

func (d *Discovery) stats(id micro.ServiceIdentity, endpoints []*micro.EndpointStats) any {
	return micro.Stats{ServiceIdentity: id, Type: micro.StatsResponseType, Started: d.started, Endpoints: endpoints}
}

func (d *Discovery) endpointStats(name string, s *Service) *micro.EndpointStats {
	n := s.Stats()
	e := &micro.EndpointStats{
		Name: name, Subject: d.subjects.Public(name), LastError: n.LastError,
		NumRequests: int(n.Received + n.Malformed), NumErrors: int(n.Failed + n.Malformed), // Counts of one process's life fit.
		ProcessingTime: n.Processing,
	}
	if n.Answered > 0 {
		e.AverageProcessingTime = n.Processing / time.Duration(n.Answered) // An int64 holds every count there will be.
	}
	return e
}

// maxSizer is a Conn that knows how large a message may be.
type maxSizer interface{ MaxPayload() int64 }

// fitting is an answer with as many endpoints as a message holds.
func fitting[E any](d *Discovery, whole func(micro.ServiceIdentity, []E) any, one func(string, *Service) E) ([]byte, error) {
	limit := int64(DefaultMaxPayload)
	if c, ok := d.conn.(maxSizer); ok {
		limit = c.MaxPayload()
	}
	d.mu.Lock()
	services := maps.Clone(d.endpoints)
	d.mu.Unlock()

	id := d.identity
	id.Metadata = maps.Clone(id.Metadata)
	id.Metadata[omittedKey] = strconv.Itoa(len(services))
	size, err := sizeOf(whole(id, []E{}))
	if err != nil {
		return nil, err
	}
	endpoints := make([]E, 0, min(len(services), int(limit/64)))
	for _, name := range slices.Sorted(maps.Keys(services)) {
		e := one(name, services[name])
		more, err := sizeOf(e)
		if err != nil {
			return nil, err
		}
		if size += more + 1; size > limit {
			break
		}
		endpoints = append(endpoints, e)
	}
	if omitted := len(services) - len(endpoints); omitted > 0 {
		id.Metadata[omittedKey] = strconv.Itoa(omitted)
	} else {
		delete(id.Metadata, omittedKey)
	}
	return json.Marshal(whole(id, endpoints))
}

func sizeOf(v any) (int64, error) {
	data, err := json.Marshal(v)
	return int64(len(data)), err
}
