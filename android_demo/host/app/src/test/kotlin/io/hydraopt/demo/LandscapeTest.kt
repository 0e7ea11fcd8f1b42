package io.hydraopt.demo

import android.graphics.Rect
import android.view.View
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** A phone that is held sideways. */
class LandscapeTest : ScreenCase() {
    /** Where a view is on the screen; it must be whole. */
    private fun place(id: Int): Rect {
        val view = phone.view<View>(id)
        val seen = Rect()
        assertTrue("$view", view.getGlobalVisibleRect(seen))
        assertEquals(listOf(view.width, view.height), listOf(seen.width(), seen.height()))
        return seen
    }

    @Test
    fun anAnswerIsReadBesideItsPrompt() {
        val asked = Fixtures.answers("zoo").first { it.task == "money-de" }
        start()
        phone.choose(asked.task)
        phone.type(R.id.prompt, asked.prompt)
        phone.tap(R.id.run)
        phone.awaitRest()
        val tall = place(R.id.answer)
        phone.change("+land")
        assertEquals(asked.answer, phone.text(R.id.answer))
        val ask = listOf(R.id.prompt, R.id.run, R.id.task).map(::place)
        assertTrue("without scrolling", ask.all { it.bottom <= place(R.id.screen).bottom })
        assertTrue("at the side", place(R.id.bundle).right < place(R.id.answer).left)
        assertTrue("at the top", place(R.id.answer).top < tall.top)
        place(R.id.status)
    }

    @Test
    fun theEndOfAConversationIsInSight() {
        val asked = Fixtures.answers("zoo").first { it.task == "money-pl" }
        start("lines")
        phone.choose(asked.task)
        phone.change("+land")
        repeat(3) {
            phone.type(R.id.message, asked.prompt)
            phone.tap(R.id.send)
            phone.awaitRest()
        }
        phone.idle()
        assertTrue(place(R.id.status).left > phone.view<View>(R.id.task).right)
    }
}
