use super::*;

const TTL: Duration = Duration::from_secs(2);

/// A node that was elected, whose requests took so long each, and when it hears of that.
fn elected(servers: usize, each: Duration) -> (Campaign, BootTime, Option<Event>) {
    let mut campaign = Campaign::new(Standing::Full);
    campaign.ask_by_turns(servers);
    let mut now = BootTime(0);
    let mut event = None;
    for answer in [
        Answer::Free,
        Answer::Granted { lease: 7, ttl: TTL },
        Answer::Held { by: "a".into(), lease: 7, fence: 3 },
    ] {
        let Next::Ask(..) = campaign.next(now) else { panic!("it waits") };
        let sent = now;
        now = now.plus(each);
        event = campaign.on(answer, sent, now, TTL);
    }
    (campaign, now, event)
}

/// Has time go on to the next request; gives that, and what it may take.
fn asked(campaign: &mut Campaign, now: &mut BootTime) -> (Request, Duration) {
    loop {
        match campaign.next(*now) {
            Next::Wait(until) => *now = until,
            Next::Ask(request, patience) => return (request, patience.unwrap()),
            Next::Rest => panic!("it rests"),
        }
    }
}

#[test]
fn servers_that_are_silent_leave_time_for_the_others() {
    for servers in [1, 2, 3, 5] {
        let (mut campaign, mut now, event) = elected(servers, Duration::from_millis(1));
        assert!(matches!(event, Some(Event::Elected { .. })));
        let until = campaign.won().unwrap().sent.plus(TTL);
        // Of more than these, no majority would be left.
        for _ in 0..(servers / 2).max(1) {
            let (request, patience) = asked(&mut campaign, &mut now);
            assert_eq!(request, Request::Renew { lease: 7, fence: 3 });
            let sent = now;
            now = now.plus(patience);
            assert_eq!(campaign.on(Answer::Failed("silent".into()), sent, now, TTL), None);
        }
        let (_, patience) = asked(&mut campaign, &mut now);
        assert!(now.plus(Duration::from_millis(150)) < until, "{servers} servers: {now:?}");
        assert!(patience >= Duration::from_millis(50), "{patience:?}");
    }
}

#[test]
fn slow_store_has_a_primary_that_stays_or_none() {
    let (mut campaign, mut now, event) = elected(1, Duration::from_millis(400));
    assert!(matches!(event, Some(Event::Elected { .. })));
    for _ in 0..20 {
        let until = campaign.won().unwrap().sent.plus(TTL);
        let (request, patience) = asked(&mut campaign, &mut now);
        assert_eq!(request, Request::Renew { lease: 7, fence: 3 });
        let (sent, took) = (now, Duration::from_millis(800));
        assert!(took < patience, "{patience:?}");
        now = now.plus(took);
        assert!(now.plus(Duration::from_millis(100)) < until, "it is over before it is renewed");
        campaign.on(Answer::Renewed { ttl: TTL }, sent, now, TTL);
    }
    assert_eq!(campaign.complaint(), None);
    let (mut campaign, mut now, event) = elected(1, Duration::from_millis(500));
    assert_eq!(event, None, "it would be over before it is renewed");
    assert_eq!(campaign.complaint(), Some(&Complaint::TooSlow { ttl: TTL }));
    assert_eq!(asked(&mut campaign, &mut now).0, Request::Release { lease: 7 });
}

#[test]
fn key_without_a_lease_is_complained_of() {
    let mut campaign = Campaign::new(Standing::Full);
    let mut now = BootTime(0);
    asked(&mut campaign, &mut now);
    let held = |lease| Answer::Held { by: "me".into(), lease, fence: 2 };
    assert_eq!(campaign.on(held(0), now, now, TTL), None);
    assert_eq!(campaign.complaint(), Some(&Complaint::Stray { by: "me".into() }));
    assert!(campaign.complaint().unwrap().to_string().contains("delete the key"));
    campaign.on(held(5), now, now, TTL);
    assert_eq!(campaign.complaint(), None);
    campaign.on(held(0), now, now, TTL);
    campaign.on(Answer::Free, now, now, TTL);
    assert_eq!(campaign.complaint(), None);
}

#[test]
fn next_program_renews_at_once_and_has_the_role_meanwhile() {
    let (sent, mut now) = (BootTime(5), BootTime(900_000));
    let (mut campaign, event) = Campaign::resume(7, 3, sent, TTL);
    let Some(Event::Elected { fence: 3, until, .. }) = event else { panic!("{event:?}") };
    assert_eq!(until, Some(sent.plus(TTL)), "no longer than the program before");
    assert_eq!(asked(&mut campaign, &mut now).0, Request::Renew { lease: 7, fence: 3 });
    assert_eq!(now, BootTime(900_000));
    // The first server is down: the next is asked.
    campaign.on(Answer::Failed("refused".into()), now, now, TTL);
    assert_eq!(asked(&mut campaign, &mut now).0, Request::Renew { lease: 7, fence: 3 });
    assert!(campaign.won().is_some() && now < until.unwrap());
}
