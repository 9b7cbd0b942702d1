package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/civitas-go/civitas/node"
)

// topModel is what top has on its screen.
type topModel struct {
	ctx context.Context
	w   *watcher

	width, height int
	seen          observation
	rows          []serverRow // those to show, in order
	by            sortKey
	reversed      bool
	first         int // of the rows on the screen
	filter        string
	typing        bool  // the filter
	failed        error // before anything was seen

	title, head, faint, bad, warn lipgloss.Style
}

func newTopModel(ctx context.Context, w *watcher, by sortKey) *topModel {
	return &topModel{
		ctx: ctx, w: w, by: by, width: 80, height: 24,
		title: lipgloss.NewStyle().Bold(true),
		head:  lipgloss.NewStyle().Reverse(true),
		faint: lipgloss.NewStyle().Faint(true),
		bad:   lipgloss.NewStyle().Foreground(lipgloss.Color("1")),
		warn:  lipgloss.NewStyle().Foreground(lipgloss.Color("3")),
	}
}

type due struct{}

// Init observes at once.
func (m *topModel) Init() tea.Cmd { return m.observe }

func (m *topModel) observe() tea.Msg { return m.w.observe(m.ctx) }

// Update takes keys, sizes and observations.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case observation:
		first := m.seen.Time.IsZero()
		if msg.err != nil && first && exitCode(msg.err) != exitUnreachable {
			m.failed = msg.err
			return m, tea.Quit
		}
		if msg.err != nil { // keep what was seen, and ask again
			msg.Warnings, msg.Servers, msg.Nodes = []string{msg.err.Error()}, m.seen.Servers, m.seen.Nodes
			if first {
				msg.Time = time.Time{}
			}
		}
		m.seen = msg
		m.arrange()
		return m, tea.Tick(m.w.interval, func(time.Time) tea.Msg { return due{} })
	case due:
		return m, m.observe
	case tea.KeyPressMsg:
		return m, m.key(msg)
	}
	return m, nil
}

// topKeys choose the column to sort by.
var topKeys = map[string]sortKey{
	"n": "name", "o": "node", "t": "type", "s": "state", "g": "restarts", "m": "mailbox", "c": "calls", "h": "handled", "u": "up", "r": "rate",
}

func (m *topModel) key(k tea.KeyPressMsg) tea.Cmd {
	if m.typing {
		m.typed(k)
		m.arrange()
		return nil
	}
	page := max(1, m.height-chrome)
	switch key := k.String(); key {
	case "q", "ctrl+c":
		return tea.Quit
	case "esc":
		m.filter = ""
	case "/":
		m.typing = true
	case "up", "k":
		m.first--
	case "down", "j":
		m.first++
	case "pgup", "b":
		m.first -= page
	case "pgdown", "space", "f":
		m.first += page
	case "home":
		m.first = 0
	case "end":
		m.first = len(m.rows)
	default:
		if by, ok := topKeys[key]; ok {
			m.reversed = by == m.by && !m.reversed
			m.by, m.first = by, 0
		}
	}
	m.arrange()
	return nil
}

// typed is a key while the filter is typed.
func (m *topModel) typed(k tea.KeyPressMsg) {
	switch k.String() {
	case "enter":
		m.typing = false
	case "esc", "ctrl+c":
		m.typing, m.filter = false, ""
	case "backspace":
		if runes := []rune(m.filter); len(runes) > 0 {
			m.filter = string(runes[:len(runes)-1])
		}
	default:
		m.filter += k.Text
	}
	m.first = 0
}

// arrange chooses and sorts what is shown.
func (m *topModel) arrange() {
	m.rows = m.rows[:0]
	want := strings.ToLower(m.filter)
	for _, row := range m.seen.Servers {
		if strings.Contains(strings.ToLower(row.Name), want) || strings.Contains(strings.ToLower(row.Type), want) {
			m.rows = append(m.rows, row)
		}
	}
	m.by.sortRows(m.rows)
	if m.reversed {
		slices.Reverse(m.rows)
	}
	m.first = max(0, min(m.first, len(m.rows)-max(1, m.height-chrome)))
}

// chrome is how many lines are not rows: two of title, the head, the foot.
const chrome = 4

// View draws the screen.
func (m *topModel) View() tea.View {
	var b strings.Builder
	m.writeTitle(&b)
	columns := m.columns()
	m.writeRow(&b, columns, m.head, func(c topColumn) string { return c.title(m.by, m.reversed) })
	shown := min(len(m.rows), m.first+max(1, m.height-chrome))
	for _, row := range m.rows[min(m.first, shown):shown] {
		style := lipgloss.NewStyle()
		switch {
		case row.State != "running":
			style = m.bad
		case row.Restarts > 0:
			style = m.warn
		case row.Rate == 0:
			style = m.faint
		}
		m.writeRow(&b, columns, style, func(c topColumn) string { return c.cell(row) })
	}
	b.WriteString(strings.Repeat("\n", max(0, m.height-chrome-(shown-m.first))))
	b.WriteString(m.faint.Render(fit(m.foot(shown), m.width)))
	v := tea.NewView(b.String())
	v.AltScreen = true
	return v
}

func (m *topModel) writeTitle(b *strings.Builder) {
	var rate float64
	down, waiting := 0, 0
	for _, row := range m.seen.Servers {
		rate += row.Rate
		waiting += row.Mailbox
		if row.State != "running" {
			down++
		}
	}
	title := fmt.Sprintf("cluster %s  %s  %s  %.0f messages/s  %d waiting", m.w.view.cluster,
		plural(m.seen.Nodes, "node"), plural(len(m.seen.Servers), "server"), rate, waiting)
	if m.seen.Time.IsZero() {
		title = "cluster " + m.w.view.cluster + "  asking …"
	}
	b.WriteString(m.title.Render(fit(title, m.width)))
	if down > 0 {
		b.WriteString(m.bad.Render(fit(fmt.Sprintf("  %d not running", down), max(1, m.width-ansi.StringWidth(title)))))
	}
	b.WriteString("\n")
	if len(m.seen.Warnings) > 0 {
		b.WriteString(m.warn.Render(fit(strings.Join(m.seen.Warnings, "; "), m.width)))
	}
	b.WriteString("\n")
}

func plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return strconv.Itoa(n) + " " + of + "s"
}

func (m *topModel) foot(shown int) string {
	if m.typing {
		return "find: " + m.filter + "_   enter: done  esc: all"
	}
	where := fmt.Sprintf("%d-%d of %d", min(m.first+1, len(m.rows)), shown, len(m.rows))
	if m.filter != "" {
		where += fmt.Sprintf(" with %q (esc: all)", m.filter)
	}
	return where + "  sort: r n o m c g h u t s  find: /  scroll: ↑ ↓ pgup pgdn  quit: q"
}

// topColumn is a column of top.
type topColumn struct {
	name  string
	by    sortKey
	width int
	right bool // aligned
	cell  func(serverRow) string
}

func (c topColumn) title(by sortKey, reversed bool) string {
	switch {
	case c.by != by || by == "":
		return c.name
	case reversed:
		return c.name + "▴"
	default:
		return c.name + "▾"
	}
}

// columns are those that the screen has room for; the name and the reason take
// what is left.
func (m *topModel) columns() []topColumn {
	all := []topColumn{
		{name: "NAME", by: "name", width: 24, cell: func(r serverRow) string { return r.Name }},
		{name: "NODE", by: "node", width: 10, cell: func(r serverRow) string { return r.Node }},
		{name: "STATE", by: "state", width: 10, cell: func(r serverRow) string { return r.State }},
		{name: "MSG/S", by: "rate", width: 8, right: true, cell: func(r serverRow) string { return strconv.FormatFloat(r.Rate, 'f', 0, 64) }},
		{name: "MAILBOX", by: "mailbox", width: 8, right: true, cell: func(r serverRow) string { return strconv.Itoa(r.Mailbox) }},
		{name: "RESTART", by: "restarts", width: 8, right: true, cell: func(r serverRow) string { return number(r.Restarts) }},
	}
	left := m.width
	for _, c := range all {
		left -= c.width + 1
	}
	for _, c := range []topColumn{
		{name: "UP", by: "up", width: 8, right: true, cell: func(r serverRow) string { return age(r.Uptime) }},
		{name: "CALLS", by: "calls", width: 7, right: true, cell: func(r serverRow) string { return strconv.Itoa(r.InFlight) }},
		{name: "HANDLED", by: "handled", width: 12, right: true, cell: func(r serverRow) string { return number(r.Handled) }},
		{name: "TYPE", by: "type", width: 24, cell: func(r serverRow) string { return r.Type }},
		{name: "HANDLING", width: 20, cell: func(r serverRow) string { return r.Handling }},
		{name: "LAST REASON", width: 20, cell: func(r serverRow) string { return oneLine(r.LastReason) }},
	} {
		if left < c.width+1 {
			break
		}
		left -= c.width + 1
		all = append(all, c)
	}
	// What is left goes to those whose texts are longer, and in the end to the last.
	for _, name := range []string{"NAME", "TYPE", "NODE"} {
		i := slices.IndexFunc(all, func(c topColumn) bool { return c.name == name })
		if i < 0 {
			continue
		}
		longest := all[i].width
		for _, row := range m.seen.Servers {
			longest = max(longest, len(all[i].cell(row)))
		}
		more := min(left, longest-all[i].width)
		all[i].width += more
		left -= more
	}
	if last := &all[len(all)-1]; !last.right {
		last.width += left
	} else {
		all[0].width += left
	}
	return all
}

func (m *topModel) writeRow(b *strings.Builder, columns []topColumn, style lipgloss.Style, cell func(topColumn) string) {
	var line strings.Builder
	for i, c := range columns {
		if i > 0 {
			line.WriteByte(' ')
		}
		text := fit(cell(c), c.width)
		space := strings.Repeat(" ", max(0, c.width-ansi.StringWidth(text)))
		if c.right {
			line.WriteString(space + text)
		} else {
			line.WriteString(text + space)
		}
	}
	b.WriteString(style.Render(fit(line.String(), m.width)) + "\n")
}

// sortRows is sort for rows with a rate.
func (k sortKey) sortRows(rows []serverRow) {
	slices.SortFunc(rows, func(a, b serverRow) int {
		var order int
		if k == "rate" {
			order = cmp.Compare(b.Rate, a.Rate)
		} else {
			order = comparisons[k](a.ServerInfo, b.ServerInfo)
		}
		return cmp.Or(order, byName(a.ServerInfo, b.ServerInfo))
	})
}

func byName(a, b node.ServerInfo) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Node, b.Node))
}
