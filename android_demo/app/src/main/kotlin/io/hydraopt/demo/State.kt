package io.hydraopt.demo

import io.hydraopt.End

/** The activity of the session's thread. */
enum class Work { NONE, COPYING, OPENING, SWITCHING, ANSWERING }

/** The list that covers the screen. */
enum class Picker { TASKS, BUNDLES }

/**
 * The bundle whose program is loaded.
 *
 * @property name of its directory.
 * @property bytes of program, packs and all other files.
 * @property hasChat whether it has a chat template.
 */
data class OpenBundle(
    val name: String,
    val tasks: List<String>,
    val bytes: Long,
    val hasChat: Boolean
)

/**
 * Everything that the screen shows.
 *
 * @property places bundles that can be opened.
 * @property query the search text for tasks.
 * @property answer the text so far.
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
    val task: String? = null,
    val prompt: String = "",
    val chat: Boolean = false,
    val answer: String = "",
    val end: End? = null,
    val tokens: Int = 0,
    val problem: Problem? = null,
    val figures: Figures = Figures()
) {
    /** Tasks that match every word of [query]. */
    val found: List<String>
        get() {
            val words = query.lowercase().split(' ').filter { it.isNotEmpty() }
            return bundle?.tasks.orEmpty().filter { task ->
                words.all { it in task.lowercase() }
            }
        }

    /** Whether there is a prompt and the session is idle. */
    val canRun: Boolean get() = work == Work.NONE && task != null && prompt.isNotEmpty()

    /** Whether another task or bundle can be chosen, which ends an answer. */
    val isOpen: Boolean get() = work != Work.COPYING && work != Work.OPENING

    /** Whether the running job can be stopped. */
    val canStop: Boolean get() = work == Work.ANSWERING || work == Work.COPYING
}
