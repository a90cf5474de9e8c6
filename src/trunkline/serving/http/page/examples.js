// Texts to click, for who wants to see an answer before writing a text.

const LONG = [
  "The ferry to the island leaves at seven, and on most mornings it is half empty.",
  "Commuters sleep on the benches below deck while two or three walkers stand outside and watch the gulls.",
  "In summer all that changes: there are bicycles in every corner, and the queue for coffee reaches the stairs.",
];

/** [what the button says, the text, a second text for tasks that read pairs]. */
export const EXAMPLES = [
  ["Music", "add the new song by Nina Simone to my Sunday morning playlist 🎷", "She put a new jazz song on her playlist."],
  ["A table", "book a table for four at an Italian restaurant in Boston tomorrow night", "Four people want to eat out."],
  ["Weather", "will it snow in Oslo this weekend?", "Is snow expected in Norway on Saturday?"],
  ["A review", "Two hours that I will not get back: a fine cast, and not one line worth saying.", "The film was a pleasure."],
  ["A question", "Why is the sky darker when you look straight up?", "What colour does the sky have?"],
  ["Right to left", "احجز طاولة لأربعة أشخاص في مطعم إيطالي في بوسطن مساء الغد", "أربعة أشخاص يريدون العشاء."],
  ["A long text", Array(12).fill(LONG.join(" ")).join("\n\n"), "The ferry is always full."],
];
