package io.hydraopt.demo

import android.graphics.Insets
import android.util.TypedValue
import android.view.View
import android.view.ViewGroup
import android.view.WindowInsets
import android.widget.EditText
import android.widget.SeekBar
import android.widget.TextView
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.RuntimeEnvironment

/** Names for TalkBack, touch targets, whole texts, bars and their icons. */
class AccessibilityTest : ScreenCase() {
    @Test
    fun bars() {
        start()
        val insets = WindowInsets.Builder()
            .setInsets(WindowInsets.Type.statusBars(), Insets.of(0, 60, 0, 0))
            .setInsets(WindowInsets.Type.navigationBars(), Insets.of(0, 0, 0, 90)).build()
        val screen = phone.view<View>(R.id.screen)
        screen.dispatchApplyWindowInsets(insets)
        assertEquals(listOf(60, 90), listOf(screen.paddingTop, screen.paddingBottom))
    }

    /** Whose contrasts tests/test_android_colours.py computes. */
    @Test
    fun iconsOfBarsAreDarkInTheLight() {
        start()
        for ((mode, isLight) in listOf("+notnight" to true, "+night" to false)) {
            phone.change(mode)
            for (flag in BARS) {
                val value = TypedValue()
                phone.activity.theme.resolveAttribute(flag, value, true)
                assertEquals(isLight, value.data != 0)
            }
        }
    }

    @Test
    fun everythingIsNamedAndLargeEnoughToTouch() {
        RuntimeEnvironment.setFontScale(2f)
        start()
        check(R.id.task, R.id.prompt)
        phone.change("+land")
        check(R.id.prompt, R.id.task)
    }

    @Test
    fun soIsAConversation() {
        RuntimeEnvironment.setFontScale(2f)
        start("lines")
        val asked = Fixtures.answers("zoo").first()
        phone.choose(asked.task)
        for (message in listOf(asked.prompt, "x".repeat(120))) {
            phone.type(R.id.message, message)
            phone.tap(R.id.send)
            phone.awaitRest()
        }
        assertTrue(isShown(R.id.full))
        for (turn in listOf("+port", "+land")) {
            phone.change(turn)
            check(R.id.task, R.id.system, R.id.message)
        }
    }

    @Test
    fun soAreMixturesAndResults() {
        RuntimeEnvironment.setFontScale(2f)
        start("portable")
        phone.choose("alpha")
        phone.presenter.add("beta")
        phone.awaitRest()
        check(R.id.task, R.id.prompt)
        Fixtures.linked("classifiers", Phone.pushed)
        phone.presenter.open(Stored(File(Phone.pushed, "classifiers"), pushed = true))
        phone.await("labels") { phone.text(R.id.bundle_name) == "classifiers" }
        phone.choose("topic")
        phone.type(R.id.prompt, "Ada")
        phone.tap(R.id.run)
        phone.await("labels") { phone.text(R.id.status) == "Done" }
        check(R.id.task, R.id.prompt)
    }

    /** Every view that is shown, and that [labelled] ones have their labels. */
    private fun check(vararg labelled: Int) {
        val touch = phone.activity.resources.getDimensionPixelSize(R.dimen.touch)
        val shown = all(phone.view(R.id.screen)).filter { it.isShown }
        for (view in shown) {
            if (view.isClickable && view !is EditText) {
                val name = view.contentDescription ?: (view as TextView).text
                assertTrue("$view", name.isNotBlank())
            }
            val isTouched = view.isClickable && view.id !in SELECTABLE || view is SeekBar
            if (isTouched) assertTrue("$view", view.height >= touch)
            val scrolls = view is EditText && view.text.isNotEmpty()
            if (view is TextView && !scrolls) assertTrue("${view.text} is cut", isWhole(view))
        }
        assertEquals(labelled.toList(), shown.map { it.labelFor }.filter { it != View.NO_ID })
        for (id in listOf(R.id.status, R.id.error, R.id.full)) {
            val live = phone.view<View>(id).accessibilityLiveRegion
            assertTrue(live != View.ACCESSIBILITY_LIVE_REGION_NONE)
        }
    }

    private fun all(view: View): List<View> {
        val children = (view as? ViewGroup)?.childCount ?: 0
        return listOf(view) + List(children) { all((view as ViewGroup).getChildAt(it)!!) }.flatten()
    }

    private fun isWhole(view: TextView): Boolean {
        val layout = view.layout!!
        val room = view.height - view.compoundPaddingTop - view.compoundPaddingBottom
        return layout.height <= room && List(layout.lineCount, layout::getEllipsisCount).sum() == 0
    }

    private companion object {
        val SELECTABLE =
            listOf(R.id.answer, R.id.error, R.id.turn_message, R.id.turn_answer)
        val BARS =
            listOf(android.R.attr.windowLightStatusBar, android.R.attr.windowLightNavigationBar)
    }
}
