package gateway

import (
	"context"
	"time"

	"edgegw/admin"
	"edgegw/sale"
)

// Sessions lists who is logged in to the page.
func (k *control) Sessions(ctx context.Context) ([]admin.Session, error) {
	return k.sessionsOf("", k.peopleNow(ctx)), nil
}

// sessionsOf gives the sessions of one person, or of all where name is "".
func (k *control) sessionsOf(name string, now time.Time) []admin.Session {
	roles := map[string]sale.Role{}
	for _, p := range k.people.List() {
		roles[p.Name] = p.Role
	}
	list := []admin.Session{}
	for _, s := range k.people.Sessions(name, now) {
		list = append(list, admin.Session{ID: s.ID, Name: s.Person, Role: roles[s.Person], CreatedAt: s.CreatedAt, LastSeen: s.SeenAt,
			Address: s.From.Address, Browser: s.From.Browser, System: s.From.System})
	}
	return list
}

// EndSession logs one browser out.
func (k *control) EndSession(ctx context.Context, id, by string) error {
	return personRefusal(k.people.EndSession(ctx, id, "", k.peopleNow(ctx), by))
}

// EndSessions logs somebody out everywhere.
func (k *control) EndSessions(ctx context.Context, name, by string) (admin.EndedSessions, error) {
	n, err := k.people.EndSessions(ctx, name, k.peopleNow(ctx), by)
	return admin.EndedSessions{Name: name, Ended: n}, personRefusal(err)
}

// Own lists where the person behind a session is logged in.
func (k *control) Own(ctx context.Context, session string) ([]admin.Session, error) {
	p, err := k.Who(ctx, session)
	if err != nil {
		return nil, err
	}
	list := k.sessionsOf(p.Name, k.peopleNow(ctx))
	id := k.people.IDOf(session)
	for i := range list {
		list[i].Current = list[i].ID == id
	}
	return list, nil
}

// EndOwn ends a session of the person behind one, and nobody else's.
func (k *control) EndOwn(ctx context.Context, session, id string) error {
	p, err := k.Who(ctx, session)
	if err != nil {
		return err
	}
	return personRefusal(k.people.EndSession(ctx, id, p.Name, k.peopleNow(ctx), "person:"+p.Name))
}

// LogoutEverywhere ends all sessions of the person behind one.
func (k *control) LogoutEverywhere(ctx context.Context, session string) error {
	p, err := k.Who(ctx, session)
	if err != nil {
		return err
	}
	_, err = k.EndSessions(ctx, p.Name, "person:"+p.Name)
	return err
}
