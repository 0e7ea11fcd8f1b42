package io.hydraopt.demo

import android.app.Activity
import android.content.Intent
import android.graphics.Insets
import android.net.Uri
import android.util.TypedValue
import android.view.View
import android.view.ViewGroup
import android.view.WindowInsets
import android.widget.EditText
import android.widget.ListView
import android.widget.TextView
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotSame
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** What a user sees and does, on the real library, runtime and bundles. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35], qualifiers = Phone.SIZE)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ScreenTest {
    private val phone = Phone()

    private fun start(bundle: String = "zoo") {
        Fixtures.linked(bundle, Phone.pushed)
        phone.start().awaitRest()
    }

    /** Asks the slow bundle; returns when the first pieces came. */
    private fun askSlowly(): Asked {
        val asked = Fixtures.answers("slow").first()
        phone.choose(asked.task)
        phone.type(R.id.prompt, asked.prompt)
        phone.tap(R.id.run)
        phone.await("a piece") { phone.text(R.id.answer).startsWith(asked.answer.take(3)) }
        return asked
    }

    @Test
    fun aTaskIsFoundAndAnswers() {
        start()
        assertTrue(Regex("40 tasks · 4.. MB").matches(phone.text(R.id.bundle_details)))
        assertFalse(phone.view<View>(R.id.run).isEnabled)
        val (task, prompt, answer) = Fixtures.answers("zoo").first { it.task == "money-de" }
        phone.tap(R.id.task)
        assertEquals(40, phone.rows.size)
        phone.search("no such")
        assertEquals(View.VISIBLE, phone.dialog!!.findViewById<View>(R.id.nothing)!!.visibility)
        phone.search("money de")
        assertEquals(listOf(task), phone.rows)
        phone.tapRow(task)
        assertNull(phone.dialog)
        phone.awaitRest()
        assertEquals(task, phone.text(R.id.task))
        phone.type(R.id.prompt, prompt)
        phone.tap(R.id.run)
        phone.awaitRest()
        assertEquals(answer, phone.text(R.id.answer))
        assertTrue(phone.text(R.id.status), "ended by the model" in phone.text(R.id.status))
        val spoken = phone.view<View>(R.id.status).contentDescription
        assertTrue("$spoken", spoken.startsWith("Answer: $answer. "))
        for (tile in FIGURES) {
            val value = phone.view<View>(tile).findViewById<TextView>(R.id.value)!!.text
            assertTrue("$value", Regex("[0-9,.]+( ms| MB)?").matches(value))
        }
        assertTrue(spoken(R.id.switch_high), spoken(R.id.switch_high).matches(SLOWEST_OF_ONE))
    }

    private fun spoken(tile: Int) = phone.view<View>(tile).contentDescription.toString()

    @Test
    fun percentilesAreThoseOfManySwitches() {
        start()
        val view = FiguresView(phone.activity)
        view.render(Figures(List(20) { 20.0 - it }))
        assertEquals("Switches: fastest of 20: 1.00 ms", spoken(R.id.switch_low))
        assertEquals("Switches: slowest of 20: 20.00 ms", spoken(R.id.switch_high))
        view.render(Figures(List(21) { 21.0 - it }))
        assertEquals("Switches: median of 21: 11.00 ms", spoken(R.id.switch_median))
        assertEquals("Switches: p5 of 21: 2.00 ms", spoken(R.id.switch_low))
        assertEquals("Switches: p95 of 21: 20.00 ms", spoken(R.id.switch_high))
    }

    @Test
    fun theCurrentTaskIsMarkedAmongTheOthers() {
        start()
        phone.tap(R.id.task)
        assertEquals(listOf<String>(), phone.marked)
        val last = phone.rows.last()
        phone.tapRow(last)
        phone.awaitRest()
        phone.tap(R.id.task)
        assertEquals(listOf(last), phone.marked)
        val list = phone.dialog!!.findViewById<ListView>(R.id.list)!!
        phone.await("scrolling to it") { list.lastVisiblePosition == phone.rows.size - 1 }
        assertTrue(list.firstVisiblePosition > 0)
        phone.search("date")
        assertEquals(listOf<String>(), phone.marked)
    }

    @Test
    fun anAnswerIsStopped() {
        start("slow")
        val asked = askSlowly()
        phone.tap(R.id.stop)
        phone.awaitRest()
        assertTrue(phone.text(R.id.status).endsWith("stopped"))
        assertTrue(phone.text(R.id.answer).length < asked.answer.length)
        assertTrue(phone.view<View>(R.id.run).isEnabled)
        assertFalse(phone.view<View>(R.id.stop).isEnabled)
    }

    @Test
    fun turningThePhoneKeepsAllWhileAnAnswerComes() {
        start("slow")
        phone.change("+land") // the first time takes seconds
        phone.change("+port")
        val asked = askSlowly()
        val before = phone.activity
        phone.change("+land")
        assertNotSame(before, phone.activity)
        assertEquals("Answering…", phone.text(R.id.status))
        assertTrue(phone.text(R.id.answer).length < asked.answer.length)
        phone.awaitRest()
        assertEquals(asked.answer, phone.text(R.id.answer))
        assertEquals(asked.task, phone.text(R.id.task))
        assertEquals(asked.prompt, phone.text(R.id.prompt))
        phone.change("+port")
        assertEquals(asked.answer, phone.text(R.id.answer))
        phone.tap(R.id.task)
        phone.search("sec")
        phone.change("+land-night")
        assertEquals(listOf("second"), phone.rows)
    }

    @Test
    fun aProcessThatWasEndedComesBack() {
        start()
        phone.choose("money-de")
        phone.type(R.id.prompt, "money 1.00 EUR=")
        val saved = android.os.Bundle()
        phone.controller.pause().saveInstanceState(saved).stop().destroy()
        val again = Phone()
        again.controller.create(saved).start().restoreInstanceState(saved).resume().visible()
        again.awaitRest()
        assertEquals("money-de", again.text(R.id.task))
        assertEquals("money 1.00 EUR=", again.text(R.id.prompt))
    }

    @Test
    fun errorsAreShownAndGoAway() {
        start()
        phone.choose("money-de")
        phone.type(R.id.prompt, "x".repeat(400))
        phone.tap(R.id.run)
        phone.awaitRest()
        assertTrue(phone.text(R.id.error).startsWith("This prompt is too long"))
        assertEquals(View.VISIBLE, phone.view<View>(R.id.error).visibility)
        assertTrue("${Phone.log}", Phone.log.any { "400 tokens, expected at most" in it })
        phone.type(R.id.prompt, "money 1.00 EUR=")
        phone.tap(R.id.run)
        phone.awaitRest()
        assertEquals(View.GONE, phone.view<View>(R.id.error).visibility)
    }

    @Test
    fun aBundleThatIsHalfPushedIsTold() {
        Fixtures.cut(File(Fixtures.copied("zoo", Phone.pushed, "half"), "shared.pack"))
        start()
        assertEquals("No bundle is open", phone.text(R.id.bundle_name))
        phone.tap(R.id.bundle)
        phone.await("both bundles") { phone.rows == listOf("half", "zoo") }
        phone.tapRow("half")
        phone.await("an error") { "bundle half is incomplete" in phone.text(R.id.error) }
        assertTrue("${Phone.log}", Phone.log.any { "shared.pack is damaged" in it })
        phone.awaitRest()
        phone.tap(R.id.bundle)
        phone.await("both bundles") { phone.rows == listOf("half", "zoo") }
        phone.tapRow("zoo")
        phone.await("zoo") { phone.text(R.id.bundle_name) == "zoo" }
        assertEquals(View.GONE, phone.view<View>(R.id.error).visibility)
    }

    @Test
    fun everyProblemIsToldWithoutWordsForDevelopers() {
        start()
        val told = Remedy.entries.map {
            phone.presenter.fail(Problem(it, "NAME"))
            phone.text(R.id.error)
        }
        assertEquals(Remedy.entries.size, told.toSet().size)
        for (text in told) {
            assertTrue(text, text.endsWith('.') && text[0].isUpperCase())
            assertFalse(text, Regex("export|hydraopt|exception|null").containsMatchIn(text))
        }
    }

    private fun pick(document: String) {
        phone.tap(R.id.bundle)
        phone.dialog!!.getButton(android.app.AlertDialog.BUTTON_POSITIVE)!!.performClick()
        phone.idle()
        val asked = shadowOf(phone.activity).nextStartedActivityForResult
        assertEquals(Intent.ACTION_OPEN_DOCUMENT_TREE, asked.intent.action)
        val tree = Uri.parse("content://${Documents.AUTHORITY}/tree/${Uri.encode(document)}")
        val result = Intent().setData(tree)
        shadowOf(phone.activity).receiveResult(asked.intent, Activity.RESULT_OK, result)
        phone.awaitRest()
    }

    @Test
    fun aDirectoryOfAnotherAppIsCopied() {
        Documents.serve(Fixtures.bundle("slow"))
        start()
        pick("slow")
        assertEquals("slow", phone.text(R.id.bundle_name))
        val copies = File(RuntimeEnvironment.getApplication().filesDir, "bundles")
        assertEquals(listOf("slow"), copies.list()!!.toList())
        val names = { file: File -> file.walk().map { it.toRelativeString(file) }.toSet() }
        assertEquals(names(Fixtures.bundle("slow")) + ".copied", names(File(copies, "slow")))
    }

    @Test
    fun aDirectoryWithoutPermissionIsTold() {
        Documents.serve(Fixtures.bundle("slow"), permitted = false)
        start()
        pick("slow")
        assertTrue(phone.text(R.id.error).startsWith("slow was not copied: it cannot be read"))
        assertTrue("${Phone.log}", Phone.log.any { "the app has no permission" in it })
        assertEquals("zoo", phone.text(R.id.bundle_name))
    }

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
        val touch = phone.activity.resources.getDimensionPixelSize(R.dimen.touch)
        for (view in all(phone.view(R.id.screen)).filter { it.isShown }) {
            if (view.isClickable && view !is EditText) {
                val name = view.contentDescription ?: (view as TextView).text
                assertTrue("$view", name.isNotBlank())
            }
            val isText = view.id == R.id.answer || view.id == R.id.error // selectable
            if (view.isClickable && !isText) assertTrue("$view", view.height >= touch)
            if (view is TextView) assertTrue("${view.text} is cut", isWhole(view))
        }
        val labels = all(phone.view(R.id.screen)).map { it.labelFor }.filter { it != View.NO_ID }
        assertEquals(listOf(R.id.task, R.id.prompt), labels)
        for (id in listOf(R.id.status, R.id.error)) {
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
        val SLOWEST_OF_ONE = Regex("Switches: slowest of 1: [0-9.]+ ms")
        val BARS =
            listOf(android.R.attr.windowLightStatusBar, android.R.attr.windowLightNavigationBar)
        val FIGURES = listOf(
            R.id.switch_last, R.id.switch_median, R.id.switch_low, R.id.switch_high,
            R.id.first_token, R.id.prefill, R.id.decode, R.id.memory_before, R.id.memory_now
        )
    }
}
