"""Words of the embedded worlds: domains, communities, circumstances, names. Data only; `telling.py` makes texts of it.

Placeholders: {a} the agent, {b} the person affected, {c} a bystander, {role} the agent's role.
"""

from typing import NamedTuple

from studylib.names import TRAIN_DOMAINS


class Domain(NamedTuple):
    """One area of life. `community` is the kind of community that all its scenarios take place in."""

    community: str
    places: tuple[str, ...]
    roles: tuple[str, ...]
    deeds: tuple[str, ...]
    goods: tuple[str, ...]
    harms: tuple[str, ...]


COMMUNITIES = {  # kind -> the cues by which a text tells it
    "covenant": ("a covenant town", "a covenant city"),
    "kinship": ("a kinship village", "a kinship valley"),
}

# fmt: off
DOMAINS = {
    "work": Domain("covenant", ("the shipyard", "the bottling plant"), ("foreman", "manager"),
        ("moved {b} to the night shift", "gave {b}'s project to another team", "cut {b}'s hours before the holidays"),
        ("order for the yard", "gain in output"), ("loss of pay", "loss of standing")),
    "family": Domain("kinship", ("the farmhouse", "the family table"), ("parent", "grandparent"),
        ("sold {b}'s piano", "moved {b} into the small room", "read {b}'s diary"),
        ("peace in the house", "relief for the parents"), ("hurt to the bond", "loss of trust at home")),
    "medicine": Domain("covenant", ("the clinic", "the maternity ward"), ("doctor", "nurse"),
        ("moved {b} down the waiting list", "stopped {b}'s costly medicine", "showed {b}'s results to a colleague"),
        ("relief for other patients", "gain in safety on the ward"), ("delay of treatment", "pain for a patient")),
    "law": Domain("kinship", ("the courthouse", "the notary's office"), ("lawyer", "clerk"),
        ("dropped {b}'s claim", "handed {b}'s letters to the court", "settled {b}'s case early"),
        ("saving of costs", "calm between the parties"), ("loss of a claim", "shame before the court")),
    "school": Domain("covenant", ("the primary school", "the music school"), ("teacher", "headteacher"),
        ("moved {b} to another class", "gave {b}'s prize to a classmate", "took {b}'s phone for a week"),
        ("calm in the classroom", "gain in learning"), ("loss of marks", "hurt to a pupil")),
    "sport": Domain("kinship", ("the rowing club", "the stadium"), ("coach", "captain"),
        ("dropped {b} from the team", "gave {b}'s place to a newcomer", "ended {b}'s training early"),
        ("lift for the team", "gain in fitness"), ("loss of a season", "blow to a career")),
    "online life": Domain("covenant", ("the chat group", "the gaming forum"), ("moderator", "streamer"),
        ("deleted {b}'s posts", "posted {b}'s photo", "closed {b}'s account"),
        ("calm in the forum", "help for new members"), ("loss of a good name", "flood of insults")),
    "neighbourhood": Domain("kinship", ("the shared garden", "the stairwell"), ("caretaker", "neighbour"),
        ("cut down {b}'s tree", "let {b}'s flat to a stranger", "locked {b}'s bicycle away"),
        ("light for the yard", "safety in the house"), ("loss of shade", "damage to belongings")),
    "business": Domain("covenant", ("the bakery", "the market hall"), ("shopkeeper", "trader"),
        ("raised {b}'s rent", "sold {b}'s recipe", "ended {b}'s contract"),
        ("profit for the shop", "fall in prices"), ("loss of income", "debt for a partner")),
    "friendship": Domain("kinship", ("the lake cabin", "the birthday party"), ("friend", "flatmate"),
        ("told others {b}'s secret", "lent out {b}'s car", "cancelled {b}'s trip"),
        ("joy for the others", "help for a friend in trouble"), ("hurt feelings", "loss of trust")),
    "science": Domain("covenant", ("the field station", "the laboratory"), ("researcher", "lab leader"),
        ("published {b}'s data", "took {b}'s name off the paper", "stopped {b}'s experiment"),
        ("progress in the field", "saving of public money"), ("loss of credit", "loss of a year's work")),
    "travel": Domain("kinship", ("the night train", "the mountain hostel"), ("guide", "conductor"),
        ("gave {b}'s bed to another guest", "left {b} at the station", "opened {b}'s bag"),
        ("safety for the group", "comfort for the guests"), ("loss of a journey", "night in the cold")),
    # held out from training
    "farming": Domain("covenant", ("the dairy farm", "the grain mill"), ("farmer", "miller"),
        ("dammed {b}'s stream", "slaughtered {b}'s herd", "ploughed {b}'s field"),
        ("water for the crops", "fodder for the animals"), ("loss of a harvest", "loss of animals")),
    "art": Domain("kinship", ("the gallery", "the theatre"), ("curator", "director"),
        ("painted over {b}'s mural", "gave {b}'s part to an understudy", "sold {b}'s sketches"),
        ("delight for the public", "funds for the house"), ("loss of a work", "insult to an artist")),
    "rescue": Domain("covenant", ("the fire station", "the harbour"), ("fire chief", "lifeguard"),
        ("broke {b}'s door", "sank {b}'s boat", "sent {b} back to shore"),
        ("safety for the crew", "gain in time"), ("loss of a home", "injury to a helper")),
    "politics": Domain("kinship", ("the town hall", "the polling station"), ("mayor", "councillor"),
        ("took {b} off the list", "closed {b}'s road", "read {b}'s petition aloud"),
        ("trust in the council", "money for the poor"), ("loss of a vote", "harm to a district")),
}
# fmt: on
HELD_OUT_DOMAINS = tuple(domain for domain in DOMAINS if domain not in TRAIN_DOMAINS)

CIRCUMSTANCES = {  # what a text says of an excuse for the deed, or of a special duty not to do it
    "consent": ("{b} had agreed to it beforehand", "{b} had given consent"),
    "need": ("a life depended on it", "there was an emergency and no other way"),
    "promise": ("{a} had promised {c} not to do it", "{a} had given {c} a promise not to do so"),
    "office": ("the office of a {role} forbids it", "it is against the office of a {role}"),
}
EXCUSES = ("consent", "need")
DUTIES = ("promise", "office")

SIZES = ("small", "moderate", "great")

MOTIVES = {
    True: ("kindness", "fairness", "courage"),  # virtues
    False: ("spite", "greed", "vanity"),  # vices
}

NAMES = (
    "Ada", "Ahmed", "Aiko", "Amara", "Anders", "Bela", "Carmen", "Chidi", "Dana", "Diego", "Elif", "Emil",
    "Farah", "Felix", "Grace", "Hana", "Igor", "Ines", "Jamal", "Joan", "Kofi", "Lena", "Luca", "Malik",
    "Mara", "Mei", "Nadia", "Noor", "Olga", "Omar", "Paula", "Pedro", "Rania", "Ravi", "Rosa", "Samir",
    "Sofia", "Tomas", "Wanja", "Yusuf",
)  # fmt: skip
