package io.hydraopt.demo

import io.hydraopt.End
import io.hydraopt.Picture

/** The activity of the session's thread. */
enum class Work { NONE, COPYING, OPENING, SWITCHING, MIXING, ANSWERING, LOOKING }

/** The list that covers the screen: of tasks, of tasks to mix with the current ones, of bundles. */
enum class Picker { TASKS, OTHERS, BUNDLES }

/** What the user gives to the model. */
enum class Form { PROMPT, CONVERSATION, TEXT, PICTURE }

/**
 * Everything that the screen shows.
 *
 * @property places bundles that can be opened.
 * @property query the search text for tasks.
 * @property weights weights of the current tasks by name; empty for the base, null for none yet.
 * @property prompt what is typed: a prompt, a message or a text to classify.
 * @property chat whether the prompt is written in the model's chat format.
 * @property answer the text so far.
 * @property talk the conversation.
 * @property photo the chosen picture; [preview] shows it, when it was read.
 * @property result what an encoder or an image model gave.
 * @property end why the answer ended; null until then.
 * @property tokens of the answer, when it ended.
 * @property problem the last error, until something else is done.
 */
data class State(
    val work: Work = Work.NONE,
    val places: List<Place> = listOf(),
    val bundle: OpenBundle? = null,
    val picker: Picker? = null,
    val query: String = "",
    val weights: Map<String, Float>? = null,
    val prompt: String = "",
    val chat: Boolean = false,
    val answer: String = "",
    val talk: Talk = Talk(),
    val photo: Photo? = null,
    val preview: Picture? = null,
    val result: Result? = null,
    val end: End? = null,
    val tokens: Int = 0,
    val problem: Problem? = null,
    val figures: Figures = Figures()
) {
    /** The form of what the bundle's model takes. */
    val form: Form
        get() = when (bundle?.takes) {
            Takes.CONVERSATIONS -> if (chat) Form.CONVERSATION else Form.PROMPT
            Takes.TEXTS -> Form.TEXT
            Takes.PICTURES -> Form.PICTURE
            Takes.PROMPTS, Takes.MESSAGES, null -> Form.PROMPT
        }

    /** Whether a text matches every word of [query]. */
    fun isFound(text: String): Boolean =
        query.lowercase().split(' ').all { it in text.lowercase() }

    /** Tasks that match every word of [query]; of [Picker.OTHERS] those that are not current. */
    val found: List<String>
        get() {
            val others = if (picker == Picker.OTHERS) weights.orEmpty().keys else setOf()
            return bundle?.tasks.orEmpty().filter { isFound(it) && it !in others }
        }

    private val isReady: Boolean get() = work == Work.NONE && weights != null

    /** Whether there is something to give to the model, and the session is idle. */
    val canRun: Boolean
        get() = isReady && when (form) {
            Form.CONVERSATION -> prompt.isNotBlank()
            Form.PICTURE -> photo != null
            Form.PROMPT, Form.TEXT -> prompt.isNotEmpty()
        }

    /** Whether the last message can be answered again. */
    val canRetry: Boolean
        get() = isReady && form == Form.CONVERSATION && talk.turns.isNotEmpty()

    /** Whether another task can be mixed with the current ones. */
    val canMix: Boolean
        get() {
            val count = weights?.size ?: 0
            return bundle?.mixing == Mixing.ALLOWED && count in 1 until bundle.tasks.size
        }

    /** Whether another task or bundle can be chosen, which ends an answer. */
    val isOpen: Boolean get() = work != Work.COPYING && work != Work.OPENING

    /** Whether the running job can be stopped. */
    val canStop: Boolean
        get() = work == Work.COPYING || work == Work.ANSWERING && form != Form.TEXT
}
