use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;

use super::*;

mod convergence;

/// The record of these tests: the label `digest`, and no record of an object without it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Digest(String);

impl Record for Digest {
    type Object = PartialObjectMeta<ConfigMap>;

    fn from_object(object: Self::Object) -> Option<Self> {
        object.metadata.labels?.remove("digest").map(Digest)
    }
}

/// An object of incarnation `uid` as of resourceVersion `version`.
fn object(name: &str, uid: &str, version: u64) -> PartialObjectMeta<ConfigMap> {
    let mut object = unlabelled(name, uid, version);
    object.metadata.labels = Some([("digest".into(), format!("{uid}@{version}"))].into());
    object
}

fn unlabelled(name: &str, uid: &str, version: u64) -> PartialObjectMeta<ConfigMap> {
    let metadata = ObjectMeta {
        namespace: Some("ns".into()),
        name: Some(name.into()),
        uid: Some(uid.into()),
        resource_version: Some(version.to_string()),
        ..ObjectMeta::default()
    };
    PartialObjectMeta { metadata, ..PartialObjectMeta::default() }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

/// A cache and what its subscriber heard since last asked.
struct World {
    cache: Cache<Digest>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn empty() -> Self {
        let world = Self { cache: Cache::new(), heard: Arc::default() };
        let heard = world.heard.clone();
        world.cache.subscribe(move |key, old, new| {
            let of = |value: Option<&Digest>| value.map_or("-".into(), |Digest(digest)| digest.clone());
            heard.lock().unwrap().push(format!("{}: {} to {}", key.name, of(old), of(new)));
        });
        world
    }

    /// Ready, with these objects.
    fn listed(objects: impl IntoIterator<Item = PartialObjectMeta<ConfigMap>>) -> Self {
        let world = Self::empty();
        world.cache.apply(Event::Init);
        objects.into_iter().for_each(|object| world.cache.apply(Event::InitApply(object)));
        world.cache.apply(Event::InitDone);
        world.heard();
        world
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    fn holds(&self, name: &str) -> Option<String> {
        self.cache.get(&key(name)).map(|Digest(digest)| digest)
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let mut keys = vec![];
        self.cache.for_each(|key, _| keys.push(key.clone()));
        keys
    }

    /// The names of what is held in a namespace, in the order of the walk.
    fn names_in(&self, namespace: &str) -> Vec<String> {
        let mut names = vec![];
        self.cache.for_each_in(namespace, |key, _| names.push(key.to_string()));
        names
    }
}

#[test]
fn subscribers_hear_of_each_change_with_old_and_new_value() {
    let world = World::listed([]);
    world.cache.apply(Event::Apply(object("a", "u", 1)));
    world.cache.apply(Event::Apply(object("a", "u", 2)));
    world.cache.apply(Event::Delete(object("a", "u", 3)));
    assert_eq!(world.heard(), ["a: - to u@1", "a: u@1 to u@2", "a: u@2 to -"]);
}

#[test]
fn a_write_is_read_at_once_and_its_echo_is_not_news() {
    let world = World::listed([]);
    world.cache.written(object("a", "u", 5));
    assert_eq!(world.holds("a").unwrap(), "u@5");
    assert_eq!(world.heard(), ["a: - to u@5"]);
    world.cache.apply(Event::Apply(object("a", "u", 5)));
    assert_eq!(world.heard(), [""; 0]);
}

#[test]
fn older_news_is_no_news_whoever_brings_it() {
    let world = World::listed([object("a", "u", 5)]);
    world.cache.written(object("a", "u", 9));
    world.cache.apply(Event::Apply(object("a", "u", 7)));
    world.cache.written(object("a", "u", 6));
    assert_eq!(world.holds("a").unwrap(), "u@9");
    assert_eq!(world.heard(), ["a: u@5 to u@9"]);
}

#[test]
fn a_deletion_counts_for_its_own_incarnation_only() {
    let world = World::listed([object("a", "old", 5)]);
    world.cache.written(object("a", "new", 9));
    assert_eq!(world.heard(), ["a: old@5 to new@9"]);
    world.cache.apply(Event::Delete(object("a", "old", 8)));
    assert_eq!(world.holds("a").unwrap(), "new@9");
    world.cache.remove_written(&key("a"), &"old".into());
    assert_eq!(world.holds("a").unwrap(), "new@9");
    world.cache.remove_written(&key("a"), &"new".into());
    assert_eq!(world.holds("a"), None);
}

#[test]
fn a_deletion_older_than_what_is_held_is_ignored() {
    // A watch with a label selector reports an object that lost the label as deleted. We gave it back since.
    let world = World::listed([object("a", "u", 5)]);
    world.cache.written(object("a", "u", 9));
    world.cache.apply(Event::Delete(object("a", "u", 7)));
    assert_eq!(world.holds("a").unwrap(), "u@9");
}

#[test]
fn a_write_reported_after_the_watch_brought_its_deletion_does_not_come_back() {
    let world = World::listed([]);
    world.cache.apply(Event::Apply(object("a", "u", 5)));
    world.cache.apply(Event::Delete(object("a", "u", 6)));
    world.cache.written(object("a", "u", 5));
    assert_eq!(world.holds("a"), None);
}

#[test]
fn an_object_of_which_nothing_is_to_be_kept_is_dropped() {
    let world = World::listed([object("a", "u", 5), unlabelled("b", "u", 6)]);
    assert_eq!(world.cache.len(), 1);
    world.cache.apply(Event::Apply(unlabelled("a", "u", 7)));
    assert_eq!(world.heard(), ["a: u@5 to -"]);
    assert!(world.cache.is_empty());
}

#[test]
fn a_relist_drops_what_it_did_not_list() {
    let world = World::listed([object("a", "u", 5), object("b", "u", 6)]);
    world.cache.apply(Event::Init);
    world.cache.apply(Event::InitApply(object("b", "u", 6)));
    assert_eq!(world.holds("a").unwrap(), "u@5", "nothing is missing while the list is incomplete");
    world.cache.apply(Event::InitDone);
    assert_eq!(world.heard(), ["a: u@5 to -"]);
}

#[test]
fn a_write_during_a_relist_stays() {
    let world = World::listed([object("a", "u", 5)]);
    world.cache.apply(Event::Init);
    world.cache.apply(Event::InitApply(object("a", "u", 5)));
    world.cache.written(object("new", "u", 8));
    world.cache.apply(Event::InitDone);
    assert_eq!(world.holds("new").unwrap(), "u@8");
    world.cache.apply(Event::Apply(object("new", "u", 8)));
    world.cache.apply(Event::Apply(object("a", "u", 9)));
    assert_eq!(world.holds("new").unwrap(), "u@8", "confirmed by the watch");
}

#[test]
fn a_write_during_a_relist_that_was_undone_since_goes_when_the_watch_passes_it() {
    let world = World::listed([object("a", "u", 5)]);
    world.cache.apply(Event::Init);
    world.cache.written(object("new", "u", 8));
    world.cache.apply(Event::InitApply(object("a", "u", 5)));
    world.cache.apply(Event::InitDone);
    world.cache.apply(Event::Apply(object("a", "u", 12)));
    assert_eq!(world.holds("new"), None);
}

#[test]
fn a_write_during_a_relist_that_lists_something_newer_is_gone() {
    let world = World::listed([object("a", "u", 5)]);
    world.cache.apply(Event::Init);
    world.cache.written(object("new", "u", 8));
    world.cache.apply(Event::InitApply(object("a", "u", 12)));
    world.cache.apply(Event::InitDone);
    assert_eq!(world.holds("new"), None);
}

#[test]
fn a_relist_that_is_cut_short_drops_nothing() {
    let world = World::listed([object("a", "u", 5), object("b", "u", 6)]);
    world.cache.apply(Event::Init);
    world.cache.apply(Event::InitApply(object("a", "u", 5)));
    world.cache.apply(Event::Init);
    world.cache.apply(Event::InitApply(object("b", "u", 6)));
    world.cache.apply(Event::InitApply(object("a", "u", 5)));
    world.cache.apply(Event::InitDone);
    assert_eq!(world.heard(), [""; 0]);
}

#[test]
fn an_older_state_in_a_relist_does_not_replace_a_newer_one() {
    let world = World::listed([object("a", "u", 5)]);
    world.cache.written(object("a", "u", 9));
    world.cache.apply(Event::Init);
    world.cache.apply(Event::InitApply(object("a", "u", 5)));
    world.cache.apply(Event::InitDone);
    assert_eq!(world.holds("a").unwrap(), "u@9");
}

#[test]
fn objects_of_a_namespace_are_found_without_those_of_its_neighbours() {
    let world = World::listed([]);
    for namespace in ["n", "ns", "ns2", ""] {
        for name in ["b", "a"] {
            let mut object = object(name, "u", 1);
            object.metadata.namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
            world.cache.apply(Event::Apply(object));
        }
    }
    assert_eq!(world.names_in("ns"), ["ns/a", "ns/b"]);
    assert_eq!(world.names_in(""), ["a", "b"]);
    assert_eq!(world.names_in("nothing"), [""; 0]);
    assert_eq!(world.keys().len(), 8);
}

#[test]
fn the_keys_of_a_namespace_share_its_name() {
    let world = World::listed([object("a", "u", 1), object("b", "u", 2), object("c", "u", 3)]);
    let keys = world.keys();
    assert!(keys.windows(2).all(|pair| Arc::ptr_eq(&pair[0].namespace, &pair[1].namespace)));
}

#[test]
fn an_entry_is_small() {
    // Key and entry of a child with a 32-byte digest, without the two names; times 14,000 children.
    assert!(size_of::<(ObjectKey, Held<[u8; 32]>)>() <= 112);
}

#[test]
fn a_subscriber_may_read_the_cache() {
    let cache = Cache::<Digest>::new();
    let reader = cache.clone();
    let seen = Arc::new(Mutex::new(None));
    let in_subscriber = seen.clone();
    cache.subscribe(move |key, _, _| *in_subscriber.lock().unwrap() = reader.get(key));
    cache.apply(Event::Apply(object("a", "u", 1)));
    assert_eq!(*seen.lock().unwrap(), Some(Digest("u@1".into())));
}

#[tokio::test]
async fn a_cache_is_ready_after_its_first_complete_list_and_stays_so() {
    let world = World::empty();
    world.cache.apply(Event::Init);
    world.cache.apply(Event::InitApply(object("a", "u", 5)));
    assert!(!world.cache.ready());
    let waiting = tokio::spawn({
        let cache = world.cache.clone();
        async move { cache.wait_until_ready().await }
    });
    world.cache.apply(Event::InitDone);
    waiting.await.unwrap();
    world.cache.apply(Event::Init);
    assert!(world.cache.ready());
}

#[test]
fn an_object_that_does_not_decode_is_held_as_such() {
    let cache = Cache::<Decoded<ConfigMap>>::new();
    let metadata = |name: &str, version: &str| serde_json::json!({"name": name, "uid": "u", "resourceVersion": version, "managedFields": [{}]});
    for object in [
        serde_json::json!({"metadata": metadata("good", "1"), "data": {"a": "b"}}),
        serde_json::json!({"metadata": metadata("bad", "2"), "data": 7}),
    ] {
        cache.apply(Event::Apply(serde_json::from_value(object).unwrap()));
    }
    let good = cache.valid(&ObjectKey::cluster("good")).unwrap();
    assert!(good.data.is_some() && good.metadata.managed_fields.is_none());
    assert!(matches!(cache.get(&ObjectKey::cluster("bad")), Some(Decoded::Invalid(_))));
    assert!(cache.valid(&ObjectKey::cluster("bad")).is_none());
}
